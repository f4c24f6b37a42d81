"""Workers share shards out, and however one of them or their parent ends, nothing stays behind and nothing is lost.

The shards are stand-ins that load nothing, so that a worker starts at once; the real ones are in ``tests/stages``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from selfstudy.errors import ModelError, SelfstudyError
from selfstudy.generation.workers import make_shards
from selfstudy.types import Progress

ROOT = Path(__file__).parents[2]
UNITS = 10  # of progress, a shard


class OddError(ModelError):
    """Cannot be unpickled as it is."""

    def __init__(self, one: str, two: str):
        super().__init__(f"{one} and {two}")


class Stand:
    """``count`` shards, a file each; what happens in one of them is said by ``acts``."""

    def __init__(self, folder: Path, count: int, acts: dict[int, str], place: str):
        if place == "nowhere":
            raise ModelError("there is no such place")
        self.folder, self.count, self.acts = folder, count, acts
        # Whoever lives holds a lock.
        self.mark = (folder / f"worker-{place}-{os.getpid()}").open("w")
        fcntl.flock(self.mark, fcntl.LOCK_EX)

    def path(self, number: int) -> Path:
        return self.folder / f"shard-{number}"

    @property
    def missing(self) -> list[int]:
        return [number for number in range(self.count) if not self.path(number).exists()]

    @property
    def done(self) -> int:
        return UNITS * (self.count - len(self.missing))

    def make(self, number: int, bar: Progress) -> None:
        act = self.acts.get(number)
        if act and number:
            wait_until(lambda: self.path(0).exists())
        if act == "last":
            wait_until(lambda: self.missing == [number])
        elif act == "hang":
            time.sleep(600)
        elif act == "error":
            raise ModelError(f"shard {number} is wrong")
        elif act == "odd":
            raise OddError("this", "that")
        elif act == "bug":
            raise ZeroDivisionError("nobody thought of this")
        elif act == "full":
            raise OSError(errno.ENOSPC, "No space left on device", "part")
        elif act == "exit":
            sys.exit(0)
        elif act is not None:
            os.kill(os.getpid(), signal.Signals[act])
        bar.advance(UNITS - 1)
        bar.advance(1, speed=float(number))
        self.path(number).write_text(f"made {number}")


class Bar:
    """Remembers how it was moved."""

    def __init__(self) -> None:
        self.total = 0
        self.shown: set[float | str] = set()

    def advance(self, amount: int = 1, **shown: float | str) -> None:
        self.total += amount
        self.shown.update(shown.values())


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def workers(folder: Path) -> list[Path]:
    return sorted(folder.glob("worker-*"))


def alive(folder: Path) -> bool:
    for path in workers(folder):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def places(n: int) -> list[str]:
    return [f"place:{number}" for number in range(n)]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_whoever_is_free_takes_the_next_shard_and_what_is_there_is_kept(n: int, tmp_path: Path) -> None:
    (tmp_path / "shard-2").write_text("made before")
    bar = Bar()
    # The first to begin ends last: only others can have made the rest meanwhile.
    make_shards(partial(Stand, tmp_path, 6, {0: "last"} if n > 1 else {}), places(n), bar)
    assert {path.name: path.read_text() for path in tmp_path.glob("shard-*")} == {
        f"shard-{k}": "made before" if k == 2 else f"made {k}" for k in range(6)
    }
    assert bar.total == 6 * UNITS
    assert bar.shown == {0.0, 1.0, 3.0, 4.0, 5.0}
    assert len(workers(tmp_path)) == n
    assert [path.name.split("-")[1] for path in workers(tmp_path)] == places(n)
    assert workers(tmp_path)[0].name.endswith(f"-{os.getpid()}") == (n == 1)


@pytest.mark.parametrize(("missing", "started"), [(2, 2), (1, 1), (0, 1)])
def test_there_are_no_more_workers_than_shards(missing: int, started: int, tmp_path: Path) -> None:
    """One has to look what is missing."""
    for number in range(missing, 3):
        (tmp_path / f"shard-{number}").write_text("")
    bar = Bar()
    make_shards(partial(Stand, tmp_path, 3, {}), places(4), bar)
    assert len(workers(tmp_path)) == started
    assert bar.total == 3 * UNITS


@pytest.mark.parametrize(
    ("act", "kind", "message"),
    [
        ("error", ModelError, r"^shard 1 is wrong$"),
        ("odd", ModelError, r"^this and that$"),
        ("full", OSError, r"No space left on device: 'part'"),
        ("bug", RuntimeError, r"(?s)in make\n.*ZeroDivisionError: nobody thought of this"),
        (
            "SIGKILL",
            SelfstudyError,
            r"place:\d \(process \d+\) was killed by SIGKILL; .*running again .*memory",
        ),
        ("SIGSEGV", SelfstudyError, r"was killed by SIGSEGV; .*running again continues with the others$"),
        ("exit", SelfstudyError, r"ended with status 0 before its work was done"),
    ],
)
def test_what_befalls_one_worker_is_said_and_ends_the_others(
    act: str, kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message) as caught:
        make_shards(partial(Stand, tmp_path, 4, {1: act, 2: "hang", 3: "hang"}), places(2), Bar())
    assert type(caught.value) is kind
    assert not alive(tmp_path)
    assert (tmp_path / "shard-0").read_text() == "made 0"
    make_shards(partial(Stand, tmp_path, 4, {}), places(2), bar := Bar())
    assert bar.total == 4 * UNITS
    assert len(list(tmp_path.glob("shard-*"))) == 4


def test_a_worker_that_cannot_begin_says_why(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such place"):
        make_shards(partial(Stand, tmp_path, 4, {0: "hang"}), ["somewhere", "nowhere"], Bar())
    assert not alive(tmp_path)


# The first worker of a process is not to be interrupted either: it sends itself what a terminal sends to all.
SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, also where tests run under nohup
from functools import partial
from pathlib import Path
from selfstudy.generation.workers import make_shards
from tests.generation.test_workers import Bar, Stand
make_shards(partial(Stand, Path("shards"), 4, {0: "SIGINT", 1: "hang", 2: "hang"}), ["a", "b"], Bar())
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process in a group of its own whose two workers hang, each in a shard."""
    (tmp_path / "shards").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(workers(tmp_path / "shards")) == 2 and (tmp_path / "shards" / "shard-0").exists())
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def test_workers_die_with_their_parent(parent: subprocess.Popen[str], tmp_path: Path) -> None:
    assert alive(tmp_path / "shards")
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(tmp_path / "shards"))


def test_an_interrupt_is_the_parents_business(parent: subprocess.Popen[str], tmp_path: Path) -> None:
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
    _, said = parent.communicate(timeout=60)
    assert parent.returncode == -signal.SIGINT
    assert said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert not alive(tmp_path / "shards")


def test_a_plain_script_works_and_is_run_once(tmp_path: Path) -> None:
    """Nobody writes ``if __name__ == "__main__":`` around the first lines that a page shows."""
    script = SCRIPT.replace('{0: "SIGINT", 1: "hang", 2: "hang"}', "{}") + "open('runs', 'a').write('once ')\n"
    (tmp_path / "script.py").write_text(script)
    (tmp_path / "shards").mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "shards").glob("shard-*"))) == 4
    assert len(workers(tmp_path / "shards")) == 2
    assert (tmp_path / "runs").read_text() == "once "
