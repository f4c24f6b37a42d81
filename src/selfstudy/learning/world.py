"""Several processes that take the same optimizer steps: each computes a share of a step, and they add up gradients.

The first process is the one that the user started: it keeps the log, writes checkpoints and decides when to stop. The
others are started from it, get its weights, and do nothing but their share.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Thread

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel

from selfstudy.errors import TrainingError

# Longer than the first process may be busy elsewhere, with a look of the guard at a large model.
_TIMEOUT = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a training.

    Attributes:
        rank: This one's number, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def agree(self, decision: bool) -> bool:
        """Return what the first process decided."""
        if self.size == 1:
            return decision
        said = torch.tensor([int(decision)])
        if dist.get_backend() == "nccl":
            said = said.cuda()
        dist.broadcast(said, 0)
        return bool(said.item())

    def spread(self, model: nn.Module) -> None:
        """Give every process the first one's weights."""
        if self.size > 1:
            for tensor in (*model.parameters(), *model.buffers()):
                dist.broadcast(tensor.data, 0)


# What a process does: rank's world, and the model with weights that are not yet the first one's.
Follow = Callable[[World, PreTrainedModel], None]


@contextmanager
def started(size: int, model: PreTrainedModel, device: str, follow: Follow) -> Iterator[World]:
    """Start ``size - 1`` more processes that run ``follow``, and join them; nothing happens where size is 1.

    Args:
        size: Processes; on GPUs at most as many as there are.
        model: Whose class and config the others build.
        device: ``cpu`` or ``cuda``.
        follow: Must be picklable; a script that comes here must do so below ``if __name__ == "__main__"``.

    Raises:
        TrainingError: Another process failed; with its words.
    """
    if size == 1:
        yield World()
        return
    if device == "cuda" and size > torch.cuda.device_count():
        raise TrainingError(f"devices={size}, but there are {torch.cuda.device_count()} GPUs here")
    others: list[tuple[SpawnProcess, Connection]] = []
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder, "meeting")
        work = pickle.dumps((type(model), model.config, follow))
        try:
            for rank in range(1, size):
                ours, theirs = multiprocessing.Pipe()
                process = multiprocessing.get_context("spawn").Process(
                    target=_follow,
                    args=(work, World(rank, size), str(meeting), device, torch.get_num_threads(), theirs),
                    daemon=True,
                )
                process.start()
                theirs.close()
                others.append((process, ours))
            _meet(World(0, size), str(meeting), device)
            yield World(0, size)
        except BaseException as error:
            said = _words(others)
            if said and isinstance(error, RuntimeError):  # that a connection closed is a symptom
                raise TrainingError(f"a training process failed: {said}") from error
            raise
        finally:
            _end(others)


def _meet(world: World, meeting: str, device: str) -> None:
    backend = "nccl" if device == "cuda" else "gloo"
    if device == "cuda":
        torch.cuda.set_device(world.rank)
    dist.init_process_group(
        backend, init_method=f"file://{meeting}", rank=world.rank, world_size=world.size, timeout=_TIMEOUT
    )


def _follow(work: bytes, world: World, meeting: str, device: str, threads: int, connection: Connection) -> None:
    """What another process does from beginning to end."""
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        torch.set_num_threads(threads)
        kind, config, follow = pickle.loads(work)
        _meet(world, meeting, device)
        follow(world, kind(config))
        dist.destroy_process_group()
    except BaseException as error:
        with suppress(OSError):
            connection.send(f"{type(error).__name__}: {error}")
        raise


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _words(others: Sequence[tuple[SpawnProcess, Connection]]) -> str:
    """Return what a process said before it failed."""
    for process, connection in others:
        with suppress(EOFError, OSError):
            if connection.poll(1):
                return str(connection.recv())
        if process.exitcode:
            return f"process {process.pid} ended with status {process.exitcode}"
    return ""


def _end(others: Sequence[tuple[SpawnProcess, Connection]]) -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
    for process, _ in others:
        process.join(timeout=10)
        if process.is_alive():
            process.kill()
            process.join()
