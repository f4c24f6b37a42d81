"""Whoever judges: the same verdicts in this process and in a worker, and no hang, death or nonsense is a verdict."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from selfstudy.errors import ConfigError, DataError, PluginError
from selfstudy.judging.judges import judged_by
from selfstudy.judging.verifiers import FAMILY
from selfstudy.plugins import parse_spec
from selfstudy.types import Completion, Problem, Sample, Verdict

ROOT = Path(__file__).parents[2]
LONG = 60.0  # for what must come, however busy the machine is
SHORT = 2.0  # for what never comes

BODY = '''
import enum, os, re, signal, subprocess, sys, time
from pathlib import Path
from selfstudy.errors import DataError
from selfstudy.judging.verifiers import Judgement, Verifier
from selfstudy.judging.verifiers.numeric import Numeric as _Numeric

class OddError(DataError):
    def __init__(self, one, two):
        super().__init__(f"{{one}} and {{two}}")

OddError = [OddError]

class _Word(str, enum.Enum):
    RIGHT = "right"

class Mine(Verifier):
    """Decides as the numeric one does, but where it is told otherwise."""

    strict: bool = False

    def verify(self, problem, text):
        if text == "fault":
            {fault}
        return _Numeric().verify(problem, text)
'''
HANGS = {
    "sleeps": "time.sleep(600)",
    "spins": "while True: pass",
    "matches, which lets no thread run": "re.match('(a+)+$', 'a' * 64 + 'b')",
    "lets nothing through": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); time.sleep(600)",
    "has stopped its process": "os.kill(os.getpid(), signal.SIGSTOP)",
}
DEATHS = {
    "os._exit(3)": "ended with status 3",
    "os._exit(0)": "ended with status 0",
    "sys.exit(0)": "ended with status 0",
    "os.kill(os.getpid(), signal.SIGSEGV)": "was killed by SIGSEGV",
    "import ctypes; ctypes.string_at(0)": "was killed by SIGSEGV",
    "os.closerange(3, 100); time.sleep(600)": "went silent",
}


@pytest.fixture
def mine(tmp_path: Path) -> Callable[..., str]:
    def write(fault: str = "pass") -> str:
        path = tmp_path / "mine.py"
        path.write_text(BODY.format(fault=fault))
        return str(path)

    return write


def asked(*texts: str) -> list[tuple[Problem, Sample]]:
    """Three samples of each problem, the answers 7."""
    found = []
    for number, text in enumerate(texts):
        problem = Problem(f"p/{number // 3:03d}", "How many?", "7")
        tokens = tuple(range(50))
        finish = "length" if text.endswith("cut") else "stop"
        completion = Completion(text.removesuffix("cut"), tokens, ((0, 2),), finish)  # type: ignore[arg-type]
        found.append((problem, Sample(problem.id, number % 3, completion, -1.0)))
    return found


def judged(verifier: object, samples: Iterable[tuple[Problem, Sample]], seconds: float = LONG) -> list[Verdict]:
    with judged_by(parse_spec(FAMILY, verifier), seconds) as judge:
        return list(judge(samples))


def test_a_worker_says_what_this_process_says(mine: Callable[..., str]) -> None:
    """Over several batches, in order, whatever the verdict; the finder of one's own has no bound and asks a worker."""
    texts = ["#### 7", "#### 8", "nothing", "#### 7cut", "#### 7 \ud800 \0 \u202e"] * 120
    here = judged("numeric", asked(*texts))
    assert [verdict.outcome for verdict in here[:5]] == ["right", "wrong", "unparsed", "wrong", "right"]
    assert [(v.problem_id, v.index) for v in here] == [(p.id, s.index) for p, s in asked(*texts)]
    assert judged(mine(), asked(*texts)) == here
    there = judged({"name": "numeric", "finder": "#### *(.*)"}, asked(*texts))
    assert [(v.outcome, v.extracted) for v in there] == [(v.outcome, v.extracted) for v in here]


def test_only_what_is_bounded_is_asked_here(mine: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    for name in (
        "numeric",
        "exact",
        {"name": "choice", "finder": "The answer is"},
        {"name": "exact", "finder": r"\boxed{}"},
    ):
        judged(name, [])
    for verifier in (mine(), {"name": "exact", "finder": "(a+)+$"}):
        with pytest.raises(AssertionError):
            judged(verifier, [])


def test_math_verify_has_a_worker() -> None:
    """Its time limits rest on signals, which work in the main thread alone; the worker's clock takes their place."""
    pytest.importorskip("math_verify", reason="the extra math is not installed")
    verdicts = judged("math_verify", asked("#### 14/2", r"#### \frac{14}{2}", "#### x", "#### !"))
    assert [verdict.outcome for verdict in verdicts] == ["right", "right", "wrong", "unparsed"]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfstudy.judging.verifiers.math_verify.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package math-verify: pip install 'selfstudy\[math\]'"):
        parse_spec(FAMILY, "math_verify")


def test_judges_are_asked_again_and_as_the_samples_come(mine: Callable[..., str]) -> None:
    with judged_by(parse_spec(FAMILY, mine()), LONG) as judge:
        assert [v.outcome for v in judge(asked("#### 7", "#### 8"))] == ["right", "wrong"]
        assert list(judge([])) == []
        assert [v.outcome for v in judge(iter(asked("#### 8")))] == ["wrong"]


@pytest.mark.parametrize("fault", HANGS.values(), ids=HANGS)
def test_a_verifier_that_hangs_is_killed_and_named(fault: str, mine: Callable[..., str]) -> None:
    path = mine(fault)
    with pytest.raises(PluginError) as caught:
        judged(path, asked("#### 7", "#### 7", "#### 7", "#### 8", "fault"), SHORT)
    assert str(caught.value) == (
        "verifier Mine: problem p/001, sample 1: no verdict within 2 seconds; mend the verifier, or raise "
        "verifier_timeout, and run again"
    )


@pytest.mark.parametrize(("fault", "how"), DEATHS.items(), ids=DEATHS)
def test_a_verifier_that_takes_its_process_with_it_is_named(fault: str, how: str, mine: Callable[..., str]) -> None:
    with pytest.raises(PluginError) as caught:
        judged(mine(fault), asked("#### 7", "fault", "#### 7"))
    assert (
        str(caught.value)
        == f"verifier Mine: problem p/000, sample 1: its process {how}; mend the verifier and run again"
    )


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (
            "raise KeyError('k')",
            PluginError,
            r"^verifier Mine: problem p/000, sample 1: raised KeyError in line \d+ of mine\.py: 'k'; mend",
        ),
        ("raise MemoryError", PluginError, "sample 1: raised MemoryError"),
        ("raise DataError('p/000: no')", DataError, "^p/000: no$"),
        ("raise OddError[0]('this', 'that')", DataError, "^this and that$"),
        ("return input()", PluginError, "sample 1: raised EOFError"),
        ("return 'right'", PluginError, "sample 1: returned 'right'; it must return a Judgement"),
        (
            "return Judgement('maybe', None, '')",
            PluginError,
            r"sample 1: returned Judgement.outcome='maybe'.* one of right, wrong, unparsed",
        ),
        ("return Judgement('right', 7, '')", PluginError, "sample 1: returned Judgement.outcome='right', extracted=7"),
        ("return Judgement('right', '7', None)", PluginError, "sample 1: returned .*reason=None"),
        ("return Judgement(['right'], '7', '')", PluginError, "sample 1: returned"),
    ],
)
def test_a_fault_is_said_as_it_was_there(
    fault: str, kind: type[Exception], message: str, mine: Callable[..., str]
) -> None:
    with pytest.raises(kind, match=message) as caught:
        judged(mine(fault), asked("#### 7", "fault"))
    assert type(caught.value) is kind


def test_texts_of_a_kind_of_ones_own_become_plain(mine: Callable[..., str]) -> None:
    (verdict,) = judged(mine("return Judgement(_Word.RIGHT, _Word.RIGHT, _Word.RIGHT)"), asked("fault"))
    assert (verdict.outcome, verdict.extracted, verdict.reason) == ("right", "right", "right")
    assert {type(text) for text in (verdict.outcome, verdict.extracted, verdict.reason)} == {str}


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("import time\ntime.sleep(600)", PluginError, "mine.py: while it is loaded: no word within 2 seconds"),
        ("import os\nos._exit(4)", PluginError, "mine.py: while it is loaded: its process ended with status 4"),
        ("import nothing_of_that_name", PluginError, "mine.py, line 1: cannot be imported: ModuleNotFoundError"),
        ("class Plain:\n    pass\n", PluginError, "mine.py: class Plain must derive from"),
        (BODY.format(fault="pass"), ConfigError, "mine.py: strct is not a setting; did you mean 'strict'"),
    ],
)
def test_one_that_cannot_be_loaded_is_named(
    source: str, kind: type[Exception], message: str, mine: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(mine())
    path.write_text(source)
    if "sleep" in source:
        monkeypatch.setattr("selfstudy.judging.judges._TO_START", SHORT)
    spec = {"name": str(path), **({"strct": True} if kind is ConfigError else {})}
    with pytest.raises(kind, match=message):
        judged(spec, asked("#### 7"), SHORT)


def test_the_parent_never_runs_the_file(mine: Callable[..., str], tmp_path: Path) -> None:
    path = Path(mine(f"Path({str(tmp_path / 'ran')!r}).write_text(str(os.getpid()))"))
    before = set(sys.modules)
    judged(str(path), asked("fault"))
    assert int((tmp_path / "ran").read_text()) != os.getpid()
    assert not [name for name in set(sys.modules) - before if name.startswith("selfstudy_plugin")]


def gone(pid: int) -> bool:
    """Say whether a process has ended; one that nobody has waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


NOTED = "Path('pids', str(os.getpid())).write_text(''); "


def pids(folder: Path) -> list[int]:
    return [int(path.name) for path in (folder / "pids").iterdir()]


def test_what_a_verifier_started_ends_with_it(
    mine: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pids").mkdir()
    child = "child = subprocess.Popen(['sleep', '600']); Path('pids', str(child.pid)).write_text(''); "
    with pytest.raises(PluginError, match="no verdict within 2 seconds"):
        judged(mine(NOTED + child + "child.wait()"), asked("fault"), SHORT)
    assert len(pids(tmp_path)) == 2
    wait_until(lambda: all(map(gone, pids(tmp_path))))


# A plain script, without `if __name__ == "__main__":`; a worker must not run it again.
SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, also where tests run under nohup
from pathlib import Path
from tests.judging.test_judges import asked, judged
Path("runs").open("a").write("once ")
print([verdict.outcome for verdict in judged("mine.py", asked("#### 7", "fault"), 600)])
"""


@pytest.fixture
def script(tmp_path: Path, mine: Callable[..., str]) -> Callable[[str], subprocess.Popen[str]]:
    def start(fault: str) -> subprocess.Popen[str]:
        mine(fault)
        (tmp_path / "pids").mkdir()
        (tmp_path / "script.py").write_text(SCRIPT)
        return subprocess.Popen(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def test_a_plain_script_works_and_is_run_once(script: Callable[[str], subprocess.Popen[str]], tmp_path: Path) -> None:
    with script("return Judgement('wrong', '0', '')") as process:
        out, err = process.communicate(timeout=LONG)
    assert (process.returncode, out, err) == (0, "['right', 'wrong']\n", "")
    assert (tmp_path / "runs").read_text() == "once "


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's end on Linux alone")
@pytest.mark.parametrize("fault", [HANGS["sleeps"], HANGS["matches, which lets no thread run"]])
def test_a_worker_ends_with_its_parent_whatever_it_is_doing(
    fault: str, script: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    with script(NOTED + fault) as process:
        wait_until(lambda: bool(pids(tmp_path)))
        assert not gone(pids(tmp_path)[0])
        process.kill()
        process.wait()
        wait_until(lambda: gone(pids(tmp_path)[0]))


def test_an_interrupt_is_the_parents_business(script: Callable[[str], subprocess.Popen[str]], tmp_path: Path) -> None:
    with script(NOTED + HANGS["sleeps"]) as process:
        wait_until(lambda: bool(pids(tmp_path)))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, err = process.communicate(timeout=LONG)
    assert process.returncode == -signal.SIGINT
    assert len(re.findall("^Traceback", err, re.MULTILINE)) == 1
    wait_until(lambda: gone(pids(tmp_path)[0]))
