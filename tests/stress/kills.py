"""One short run, killed at every operation on files and at moments of its computing, and restarted each time.

A process imports everything once and forks: a run that is killed, and one that goes on. A run is killed at an operation
by itself, in the step that the operation belongs to; the steps before are there, as an undisturbed run left them. At a
moment of its own CPU time, which a busy machine does not shift, it is killed from outside; it began from nothing.
Instead of being killed, a run may find the disk full from an operation on: it has to end with an error that says so.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import platform
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from tests.stress.operations import NEED_SPACE, die, full, watch

Family = Literal["causal", "seq2seq"]
FAMILIES: tuple[Family, ...] = ("causal", "seq2seq")
START, END, WHENEVER = "(start)", "(end)", "(moment)"
NAME = "run"
_SAID = 42  # the status of a run that has said that the disk is full
_EXITED = os.WEXITED | os.WNOHANG | os.WNOWAIT

SHAPES: dict[Family, dict[str, Any]] = {
    "causal": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
    },
    "seq2seq": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2},
}

CONFIG: dict[str, Any] = {
    "extends": "from_scratch",
    "rounds": 1,
    "vocab_size": 320,
    "problems": {
        "train": {"name": "word_problems", "split": "train", "count": 12, "max_steps": 1, "max_number": 5},
        "labelled": 8,
        "dev": {"name": "word_problems", "split": "dev", "count": 2, "max_steps": 1, "max_number": 5},
        "test": {"name": "word_problems", "split": "test", "count": 2, "max_steps": 1, "max_number": 5},
    },
    "sft": {"max_steps": 3, "epochs": None, "batch_size": 2},
    "sampling": {"max_new_tokens": 32, "max_batch_tokens": 1000, "batches_per_shard": 2, "temperature": 20.0},
    "pairs": {"n": 2, "held_out": 2},
    "preference": {"max_steps": 3, "batch_size": 2, "guard": {"every": 1, "problems": 2, "samples": 2}},
    "labels": {"n": 2},
    "evaluation": {"samples": 2, "ks": [1, 2]},
    "checkpoint_every": 1,
    "max_overlap": 1.0,  # problems of one step with numbers up to 5 are all alike
    "compute": {"threads": 1},
    "verifier": "parity",
}


@dataclass(frozen=True)
class Operation:
    """One thing that a run does to files.

    Attributes:
        step: Of the plan; or the run's start, before any; or its end, after all.
        number: From 1, in that step.
        kind: Such as ``fsync``.
        file: Its name.
    """

    step: str
    number: int
    kind: str
    file: str


@dataclass(frozen=True)
class Kill:
    """Where a run is killed: before an operation (in the middle of a write), or after some seconds of its CPU time."""

    family: Family
    operation: Operation | None
    seconds: float = 0.0
    full: bool = False  # the disk, instead of a kill

    @property
    def name(self) -> str:
        """Say it in a few words."""
        if self.operation is None:
            return f"{self.family}, after {self.seconds:.4f} s"
        one = self.operation
        what = "full disk" if self.full else "operation"
        return f"{self.family}, {one.step}, {what} {one.number}: {one.kind} {one.file}".rstrip()


@dataclass(frozen=True)
class Straight:
    """A run that nobody disturbed.

    Attributes:
        folder: Where it ran; ``root`` below it is its run root, ``before-STEP`` what was there before a step.
        kinds: Of its steps, by name, in their order.
        artifacts: Names of their folders, likewise.
        part_of: The steps that some are a part of; a run until such a step carries its parts out, too.
        operations: All that it did.
        seconds: Of CPU time that it takes, its report apart.
    """

    folder: Path
    kinds: Mapping[str, str]
    artifacts: Mapping[str, str]
    part_of: Mapping[str, str | None]
    operations: Sequence[Operation]
    seconds: float


def prepare(folder: Path) -> None:
    """Make what the runs share, and have this process ready to be forked: nothing may have started a thread."""
    # A process with threads cannot be forked safely.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    import torch

    from selfstudy.judging import verifiers
    from selfstudy.models import presets

    torch.set_num_threads(1)
    sys.dont_write_bytecode = True  # it would count among the operations of one run and not of the next
    platform.platform()  # asks other programs, once a process
    importlib.import_module("matplotlib.font_manager")  # makes its cache, once a machine
    verifiers.__path__.append(str(Path(__file__).with_name("verifiers")))
    own = {f"small-{family}": presets.Preset(family, 320, SHAPES[family]) for family in FAMILIES}
    presets.PRESETS = MappingProxyType({**presets.PRESETS, **own})
    folder.mkdir(parents=True, exist_ok=True)
    for family in FAMILIES:
        config = json.dumps({**CONFIG, "model": f"small-{family}"})  # which is YAML
        (folder / f"{family}.yaml").write_text(config, encoding="utf-8")


def carry_out(
    folder: Path,
    family: Family,
    seen: Callable[[str, str, str], bool] = lambda *_: False,
    until: str | None = None,
    *,
    report: bool = True,
    fault: Callable[[], None] = die,
) -> None:
    """Carry out the run in this process; ``seen`` gets step, kind and file of every operation."""
    from selfstudy import running

    step = START

    class Events(running.Events):
        def emit(self, event: str, fields: Mapping[str, Any]) -> None:
            nonlocal step
            if event == "step_started":
                step = fields["step"]
            elif event == "run_finished":
                step = END
            super().emit(event, fields)
            if event == "step_finished":
                seen(step, "finished", fields["kind"])

    running.Events = Events  # type: ignore[misc]
    if not report:
        running._report_after = lambda *_, **__: None
    watch(lambda kind, file: seen(step, kind, file), fault)
    running.run(str(folder / f"{family}.yaml"), ["root=root"], until=until, name=NAME, quiet=True)


def forked(work: Callable[[], None], where: Path) -> int:
    """Do something in a process of its own, in a folder; return its pid. What it raises ends up in ``error.txt``."""
    where.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    os.chdir(where)
    said = os.open("error.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # while there is a disk
    try:
        work()
        os._exit(0)
    except BaseException:
        os.write(said, traceback.format_exc().encode())
        os._exit(1)


def ended(pid: int) -> int:
    """Wait for a process and return its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def go_straight(folder: Path, family: Family) -> Straight:
    """Carry out the run undisturbed; note what it does and keep what there was before each step."""
    where = folder / f"straight-{family}"
    noted = where / "noted.json"
    if not noted.exists():
        shutil.rmtree(where, ignore_errors=True)
        if ended(forked(lambda: _note(folder, family), where)):
            raise RuntimeError((where / "error.txt").read_text(encoding="utf-8"))
    tree = json.loads(noted.read_text(encoding="utf-8"))
    for module in tree["modules"]:  # which every run would import again
        try:
            importlib.import_module(module)
        except Exception:  # an optional one; a run finds out for itself
            continue
    if not (where / "seconds").exists() and ended(forked(lambda: _time(folder, family), where / "timed")):
        raise RuntimeError((where / "timed" / "error.txt").read_text(encoding="utf-8"))
    plan = json.loads((where / "root" / "runs" / NAME / "plan.json").read_text(encoding="utf-8"))
    return Straight(
        where,
        {line["name"]: line["kind"] for line in plan},
        {line["name"]: line["artifact"] for line in plan},
        {line["name"]: line["about"].get("part_of") for line in plan},
        [Operation(*fields) for fields in tree["operations"]],
        float((where / "seconds").read_text(encoding="utf-8")),
    )


def _time(folder: Path, family: Family) -> None:
    carry_out(folder, family, report=False)
    Path("../seconds").write_text(str(time.process_time()), encoding="utf-8")  # since the fork


def _note(folder: Path, family: Family) -> None:
    operations: list[tuple[str, int, str, str]] = []
    numbers: Counter[str] = Counter()
    there = set(sys.modules)
    done: list[str] = []

    def seen(step: str, kind: str, file: str) -> bool:
        nonlocal watched
        if kind == "finished":
            watched = False
            done.append(step)
            _copy(Path("root"), Path(f"after-{len(done)}"))
            watched = True
        elif watched:
            numbers[step] += 1
            operations.append((step, numbers[step], kind, file))
        return False

    watched = True
    carry_out(folder, family, seen)
    watched = False
    modules = [name for name in sys.modules if name not in there and not name.startswith("tests")]
    tree = {"operations": operations, "modules": modules}
    Path("noted.json").write_text(json.dumps(tree), encoding="utf-8")


def _copy(root: Path, target: Path) -> None:
    """Copy a run root; what is published is shared, since nobody may change it."""
    for entry in root.rglob("*"):
        place = target / entry.relative_to(root)
        if entry.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif entry.is_relative_to(root / "artifacts") and not entry.name.startswith("."):
            os.link(entry, place)
        else:
            shutil.copyfile(entry, place)


def all_kills(straights: Mapping[Family, Straight], moments: int, seed: int) -> list[Kill]:
    """Return every operation of the runs, those that need space once more for a full disk, and random moments."""
    kills = []
    for family, straight in straights.items():
        draw = random.Random(f"{seed} {family}")
        kills += [Kill(family, operation) for operation in straight.operations]
        needing = [operation for operation in straight.operations if operation.kind in NEED_SPACE]
        kills += [Kill(family, operation, full=True) for operation in needing]
        kills += [Kill(family, None, draw.uniform(0, straight.seconds)) for _ in range(moments)]
    return kills


def survive(kill: Kill, straight: Straight, shared: Path, where: Path) -> tuple[str, str]:
    """Kill a run, let it go on, and compare.

    Returns:
        The stage that it died in, and in the middle of what.

    Raises:
        AssertionError: It did not die, did not go on, ended in other files, or left something behind.
    """
    shutil.rmtree(where, ignore_errors=True)
    steps = list(straight.kinds)
    step = kill.operation.step if kill.operation is not None else WHENEVER
    until = steps[0] if step == START else step if step in steps else None
    before = len(steps) if step == END else steps.index(step) if step in steps else 0
    if before:
        _copy(straight.folder / f"after-{before}", where / "root")
    report = step == END  # of the others it would be most of the work
    first = forked(lambda: _meet(kill, shared, until, report), where)
    if kill.operation is None:
        clock = (~first << 3) | 2  # of that process's CPU time, as clock_getcpuclockid(3) says it on Linux
        while time.clock_gettime(clock) < kill.seconds and not os.waitid(os.P_PID, first, _EXITED):
            time.sleep(0.001)
        os.kill(first, signal.SIGKILL)
    status = ended(first)
    # A moment may come when all is done; no operation may. A report that cannot be written stops no run.
    finished = kill.operation is None or (kill.full and step == END)
    expected_status = _SAID if kill.full else -signal.SIGKILL
    assert status == expected_status or (finished and status == 0), f"ended with status {status}{_error(where)}"
    place = _place(kill, straight, where)
    again = forked(lambda: carry_out(shared, kill.family, until=until, report=report), where)
    assert ended(again) == 0, _error(where)
    assert ended(forked(_collect, where)) == 0, _error(where)
    through = len(steps) if until is None else steps.index(until) + 1
    expected = [name for n, name in enumerate(steps) if n < through or straight.part_of[name] == until]
    _compare(straight, where / "root", {straight.artifacts[name] for name in expected}, straight.artifacts.get(step))
    shutil.rmtree(where)
    return place


def _meet(kill: Kill, shared: Path, until: str | None, report: bool) -> None:
    """Carry out the run up to the fault; end with a status of its own where the disk's is said as it should be."""
    from selfstudy.errors import SelfstudyError

    number = 0
    operation = kill.operation

    def seen(step: str, kind: str, file: str) -> bool:
        nonlocal number
        if operation is None or kind == "finished":
            return False
        number += step == operation.step
        if number == operation.number and step == operation.step:
            assert kind == operation.kind, f"{kind} {file} is done where {operation} was"
        if kill.full:
            return number >= operation.number and kind in NEED_SPACE
        return number == operation.number

    try:
        carry_out(shared, kill.family, seen, until, report=report, fault=full if kill.full else die)
    except (OSError, SelfstudyError) as error:  # which the command line prints without a traceback
        if kill.full and os.strerror(errno.ENOSPC) in str(error):
            os._exit(_SAID)
        raise


def _error(where: Path) -> str:
    path = where / "error.txt"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _collect() -> None:
    from selfstudy.keeping import collect, verify_run

    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    collect(Path("root"), delete=True)
    assert verify_run(NAME, Path("root"))


def _place(kill: Kill, straight: Straight, where: Path) -> tuple[str, str]:
    if kill.operation is not None:
        phase = "full disk" if kill.full else kill.operation.kind
        return straight.kinds.get(kill.operation.step, kill.operation.step), phase
    events = list(_events(where / "root" / "runs" / NAME / "events.jsonl"))
    if not events or not any(event["event"].startswith("step_") for event in events):
        return START, "moment"
    last = next(event for event in reversed(events) if event["event"].startswith(("step_", "run_")))
    return (last["kind"] if last["event"] == "step_started" else "(between)"), "moment"


def _events(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            return  # the line that was being written


def _compare(straight: Straight, root: Path, expected: set[str], killed: str | None) -> None:
    """Compare what is there with what should be; of the step that was killed, or of all, byte by byte."""
    found = {path.name for path in (root / "artifacts").iterdir()}
    assert found == expected, f"left behind: {sorted(found - expected)}, missing: {sorted(expected - found)}"
    hidden = sorted(str(path) for path in root.rglob(".*"))
    assert not hidden, f"left behind: {hidden}"
    for name in sorted(expected):
        ours, theirs = (json.loads((top / "artifacts" / name / "manifest.json").read_text(encoding="utf-8"))
                        for top in (root, straight.folder / "root"))  # fmt: skip
        for key in ("made_from", "metrics", "files"):
            assert ours[key] == theirs[key], f"{name}: {key} differ: {ours[key]} and {theirs[key]}"
        if killed in (name, None):
            for file in (root / "artifacts" / name).iterdir():
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                assert file.name == "manifest.json" or digest == ours["files"][file.name]["sha256"], f"{file} differs"
