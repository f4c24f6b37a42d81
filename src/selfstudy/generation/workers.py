"""Workers: several processes, each with a model of its own, that share shards out among themselves.

This process then computes nothing: it tells a worker that is free which shard comes next, and moves the one bar. What
it imports is light, and what a worker needs comes with the work that it is given.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol, cast

from selfstudy.errors import SelfstudyError, ending, portable
from selfstudy.models.processes import start_process
from selfstudy.types import Progress


class Shards(Protocol):
    """Work in pieces, which come out the same in whatever order and by whatever process they are made."""

    @property
    def missing(self) -> Sequence[int]:
        """Return the numbers of the shards that are still to be made."""

    @property
    def done(self) -> int:
        """Return by how much those that are there move the bar."""

    def make(self, number: int, bar: Progress) -> None:
        """Make a shard."""


Prepare = Callable[[str], Shards]


@dataclass(frozen=True, slots=True)
class _Free:
    """A worker's word that it waits for a shard, with what it found when it began."""

    missing: tuple[int, ...]
    done: int


@dataclass(frozen=True, slots=True)
class _Moved:
    """A worker's word that its bar moved."""

    amount: int
    shown: Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process, and this end of the connection to it."""

    process: BaseProcess
    connection: Connection


def make_shards(prepare: Prepare, places: Sequence[str], bar: Progress) -> None:
    """Make the shards that are missing.

    Args:
        prepare: Gets ready to work at a place, such as ``cpu`` or ``cuda:1``; where there are several places, it must
            be picklable (see :func:`~selfstudy.models.processes.start_process`).
        places: One for each process; where there is one only, this process works itself.
        bar: Moves as if one process did it all.

    Raises:
        SelfstudyError: Of a worker, as it was there; or a worker was killed.
        RuntimeError: With the traceback of any other error of a worker.
    """
    if len(places) > 1:
        _share_out(prepare, places, bar)
        return
    shards = prepare(places[0])
    bar.advance(shards.done)
    for number in shards.missing:
        shards.make(number, bar)


def _share_out(prepare: Prepare, places: Sequence[str], bar: Progress) -> None:
    """Start a first worker, which finds out what is missing, and then as many of the others as have work."""
    workers: list[_Worker] = []
    try:
        workers.append(_start(prepare, places[0]))
        at_work = list(workers)
        todo: Iterator[int] | None = None
        while at_work:
            ready = wait([worker.connection for worker in at_work])
            for worker in [worker for worker in at_work if worker.connection in ready]:
                message = _receive(worker)
                if isinstance(message, _Moved):
                    bar.advance(message.amount, **message.shown)
                    continue
                if todo is None:
                    bar.advance(message.done)
                    todo = iter(message.missing)
                    for place in places[1 : len(message.missing)]:
                        workers.append(_start(prepare, place))
                        at_work.append(workers[-1])
                number = next(todo, None)
                if number is None:
                    at_work.remove(worker)
                with suppress(OSError):  # it has died: the next look at it says so
                    worker.connection.send(number)
        for worker in workers:
            worker.process.join()
    except BaseException:
        for worker in workers:  # whole shards are kept: nothing is lost with a process
            worker.process.kill()
        for worker in workers:
            worker.process.join()
        raise


def _start(prepare: Prepare, place: str) -> _Worker:
    ours, theirs = multiprocessing.Pipe()
    process = start_process(_work, prepare, place, theirs, name=f"worker on {place}")
    theirs.close()  # so that the connection ends with the worker
    return _Worker(process, ours)


def _receive(worker: _Worker) -> _Free | _Moved:
    """Return a worker's next message; raise the error that it sent, or say how it died."""
    try:
        message = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        raise _died(worker.process) from None
    if isinstance(message, Exception):
        raise message
    return cast(_Free | _Moved, message)


def _died(process: BaseProcess) -> SelfstudyError:
    code = process.exitcode or 0
    who = f"sampling {process.name} (process {process.pid}) {ending(code)}"
    again = "the shards that are whole are kept, and running again continues with the others"
    if code < 0:
        hint = "; if memory ran out, lower compute.devices" if code == -signal.SIGKILL else ""
        return SelfstudyError(f"{who}; {again}{hint}")
    return SelfstudyError(f"{who} before its work was done, and said why above; {again}")


class _Remote:
    """The bar as a worker sees it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def advance(self, amount: int = 1, **shown: float | str) -> None:
        """Move the bar where it is shown."""
        self._connection.send(_Moved(amount, shown))


def _work(prepare: Prepare, place: str, connection: Connection) -> None:
    """What a worker does from beginning to end."""
    try:
        shards = prepare(place)
        free = _Free(tuple(shards.missing), shards.done)
        connection.send(free)
        while (number := connection.recv()) is not None:
            shards.make(number, _Remote(connection))
            connection.send(free)
    except Exception as error:
        with suppress(OSError):  # nobody is left to hear it
            connection.send(portable(error))
