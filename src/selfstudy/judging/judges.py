"""Who judges: a verifier in this process, or one in a worker process, against a clock.

A verifier of one's own may hang, or take its process with it. So it is asked in another process, which is killed where
a verdict does not come; the run then stops and names the problem, and nothing has counted as wrong. The package's
verifiers whose time is bounded are asked in this process.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from typing import cast

from selfstudy.errors import PluginError, SelfstudyError, ending, portable
from selfstudy.judging.verdicts import judge, place
from selfstudy.judging.verifiers import load_verifier
from selfstudy.plugins import PluginSpec
from selfstudy.types import Completion, Problem, Sample, Verdict

# Turns samples, each with its problem, into verdicts, in their order. What it yields is read to the end before it is
# called again.
Judge = Callable[[Iterable[tuple[Problem, Sample]]], Iterator[Verdict]]

_AT_ONCE = 256  # samples that are sent together
_TO_START = 60.0  # seconds, at least, to import a verifier: a busy machine needs some
# A new interpreter rather than multiprocessing's: that one would run the user's script again.
_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from selfstudy.judging.judges import serve; serve()"
)


@contextmanager
def judged_by(spec: PluginSpec, seconds: float) -> Iterator[Judge]:
    """Give the function that judges.

    Args:
        spec: The run's one verifier.
        seconds: How long a verdict may take in a worker.

    Raises:
        PluginError: The verifier cannot be loaded; or, while it judges, what :func:`judge` raises, a verdict that does
            not come in time, or a worker that dies.
        SelfstudyError: As the verifier says, where it knows the remedy.
    """
    if not spec.is_file:
        verifier = load_verifier(spec)
        if verifier.bounded:
            yield lambda samples: (judge(verifier, problem, sample) for problem, sample in samples)
            return
    with _started() as worker:
        worker.send(spec)
        name = worker.receive(max(seconds, _TO_START), f"verifier {spec.name}: while it is loaded", "word")
        yield partial(_ask, worker, str(name), seconds)


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process, and this end of the connection to it."""

    process: subprocess.Popen[bytes]
    connection: Connection

    def send(self, what: object) -> None:
        """Send; that it has died is said by the answer that does not come."""
        with suppress(OSError):
            self.connection.send(what)

    def receive(self, seconds: float, where: str, what: str) -> object:
        """Return the worker's next answer; raise the error that it sent, or say that there is none."""
        if not self.connection.poll(seconds):
            raise PluginError(
                f"{where}: no {what} within {seconds:g} seconds; mend the verifier, or raise verifier_timeout, and run "
                "again"
            )
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            with suppress(subprocess.TimeoutExpired):  # it may have closed the connection and live
                self.process.wait(timeout=5)
            how = "went silent" if self.process.returncode is None else ending(self.process.returncode)
            raise PluginError(f"{where}: its process {how}; mend the verifier and run again") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def check_answers(judge: Judge, problems: Iterable[Problem]) -> None:
    """Have a solution without text judged for every problem, so that an answer that cannot be read is refused now.

    Raises:
        SelfstudyError: As the verifier says.
    """
    deque(judge((p, Sample(p.id, 0, Completion("", (), (), "gold"), 0.0)) for p in problems), maxlen=0)


def _ask(
    worker: _Worker, verifier: str, seconds: float, samples: Iterable[tuple[Problem, Sample]]
) -> Iterator[Verdict]:
    """Send samples by the hundred, which is cheap, and wait for verdict after verdict, so that each has a clock."""
    waiting = iter(samples)
    while batch := [(problem, _without_tokens(sample)) for problem, sample in islice(waiting, _AT_ONCE)]:
        worker.send(batch)
        for problem, sample in batch:
            yield cast(Verdict, worker.receive(seconds, place(verifier, problem, sample), "verdict"))


def _without_tokens(sample: Sample) -> Sample:
    """Leave out what no verifier sees and is most of a sample."""
    return replace(sample, completion=replace(sample.completion, token_ids=(), forced=()))


@contextmanager
def _started() -> Iterator[_Worker]:
    """Start a worker; it is killed at the end, with all that it has started."""
    ours, theirs = multiprocessing.Pipe()
    with ours:
        with theirs:  # closed here, so that the connection ends with the worker
            # In a session of its own, where Ctrl-C does not reach it; its standard input closes when we end.
            process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, json.dumps([str(entry) for entry in sys.path]), str(theirs.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        with process:
            try:
                yield _Worker(process, ours)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def serve() -> None:
    """What a worker does from beginning to end; its command line names the connection."""
    _end_with_parent()
    connection = Connection(int(sys.argv[2]))
    try:
        verifier = load_verifier(connection.recv())
    except Exception as error:
        connection.send(portable(error))
        return
    connection.send(type(verifier).__name__)
    with suppress(EOFError, OSError):  # nobody is left to ask
        while True:
            for problem, sample in connection.recv():
                try:
                    connection.send(judge(verifier, problem, sample))
                except SelfstudyError as error:
                    connection.send(portable(error))


def _end_with_parent() -> None:
    """Have the kernel end this process when standard input closes, whatever it is doing at the time.

    A thread that waits for it would not do: matching a regular expression, say, lets no thread run. (On Linux;
    elsewhere the signal is ignored, and a worker without a parent ends after its verdict.)
    """
    lifeline = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # for a verifier that reads
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
