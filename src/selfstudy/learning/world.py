"""Several processes that take the same optimizer steps: each computes a share of a step, and they add up gradients.

The first process is the one that the user started: it keeps the log, writes checkpoints and decides when to stop. The
others are started from it, get its weights, and do nothing but their share.
"""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel

from selfstudy.errors import SelfstudyError, TrainingError, ending, portable
from selfstudy.models.load import fuse_activations, is_tied, keep_untied
from selfstudy.models.processes import start_process
from selfstudy.plugins import import_files, imported_files

# Longer than the first process may be busy elsewhere, with a look of the guard at a large model.
_TIMEOUT = timedelta(hours=12)
_READY = "ready"
_BUCKET = 2**24  # numbers


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
        """Replace tensors of one type by their sums over all processes.

        They travel behind each other: a small tensor takes gloo as long as a large one, and a model has many.
        """
        if self.size > 1:
            for some in _buckets(tensors):
                flat = torch.cat([tensor.flatten() for tensor in some])
                dist.all_reduce(flat)
                for tensor, summed in zip(some, torch.split(flat, [tensor.numel() for tensor in some]), strict=True):
                    tensor.copy_(summed.view_as(tensor))

    def agree(self, decision: bool) -> bool:
        """Return what the first process decided."""
        if self.size == 1:
            return decision
        said = torch.tensor([int(decision)])
        dist.broadcast(said, 0)
        return bool(said.item())

    def least(self, number: int) -> int:
        """Return the smallest of the numbers that processes have."""
        if self.size == 1:
            return number
        numbers = torch.tensor([number])
        dist.all_reduce(numbers, dist.ReduceOp.MIN)
        return int(numbers.item())

    def joined(self, values: Sequence[int]) -> list[int]:
        """Return what all processes have, behind each other."""
        if self.size == 1:
            return list(values)
        everyones: list[Any] = [None] * self.size
        dist.all_gather_object(everyones, list(values))
        return list(chain.from_iterable(everyones))

    def spread(self, model: nn.Module) -> None:
        """Give every process the first one's weights.

        Raises:
            TrainingError: In all processes, where one of them has other parameters.
        """
        if self.size > 1:
            mine = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
            everyones: list[Any] = [None] * self.size
            dist.all_gather_object(everyones, mine)
            for theirs in everyones:
                if differing := sorted(set(theirs.items()) ^ set(everyones[0].items())):
                    raise TrainingError(
                        f"{type(model).__name__}: {differing[0][0]} is not what its config says; train with devices: 1"
                    )
            for tensor in (*model.parameters(), *model.buffers()):
                dist.broadcast(tensor.data, 0)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield tensors in order, together as long as the copy that is sent takes little memory."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(map(torch.numel, bucket)) + tensor.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


# What a process does: rank's world, and the model with weights that are not yet the first one's.
Follow = Callable[[World, PreTrainedModel], None]


@contextmanager
def started(size: int, model: PreTrainedModel, device: str, follow: Follow) -> Iterator[World]:
    """Start ``size - 1`` more processes that run ``follow``, and join them; nothing happens where size is 1.

    Args:
        size: Processes; on GPUs at most as many as there are.
        model: Whose class and config the others build.
        device: ``cpu`` or ``cuda``.
        follow: Must be picklable (see :func:`~selfstudy.models.processes.start_process`).

    Raises:
        SelfstudyError: Of another process, as it was there; or a TrainingError that says how that process ended.
        RuntimeError: A fault of this package in another process, with its traceback.
    """
    if size == 1:
        yield World()
        return
    if device == "cuda" and size > torch.cuda.device_count():
        raise TrainingError(f"devices={size}, but there are {torch.cuda.device_count()} GPUs here; lower devices")
    others: list[tuple[BaseProcess, Connection]] = []
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder, "meeting")
        # Whether the output layer is the embedding only the model knows: T5's config says so whatever is true.
        work = pickle.dumps(((type(model), model.config, is_tied(model)), follow))
        try:
            for rank in range(1, size):
                ours, theirs = multiprocessing.Pipe()
                facts = (
                    imported_files(),
                    work,
                    World(rank, size),
                    str(meeting),
                    device,
                    torch.get_num_threads(),
                    theirs,
                )
                process = start_process(_follow, *facts)
                theirs.close()
                others.append((process, ours))
            _await(others)
            _meet(World(0, size), str(meeting), device)
            yield World(0, size)
        except RuntimeError as error:  # such as a connection that closed, since somebody is gone
            raise _cause(others) or error from None
        finally:
            _end(others)


def _await(others: Sequence[tuple[BaseProcess, Connection]]) -> None:
    """Wait until all others are ready to meet: whoever is not there by then would be waited for without end.

    Raises:
        SelfstudyError: One failed.
    """
    for process, connection in others:
        try:
            said = connection.recv()
        except (EOFError, OSError):
            process.join()
            why = "" if process.exitcode and process.exitcode < 0 else " and said why above"
            raise TrainingError(
                f"a training process (process {process.pid}) {ending(process.exitcode or 0)} before it began{why}"
            ) from None
        if said != _READY:
            raise said


def _meet(world: World, meeting: str, device: str) -> None:
    # What processes agree on in every step goes through gloo, on GPUs too: it notices at once that a process has died,
    # and NCCL only when the timeout has passed.
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    if device == "cuda":
        torch.cuda.set_device(world.rank)
    dist.init_process_group(
        backend, init_method=f"file://{meeting}", rank=world.rank, world_size=world.size, timeout=_TIMEOUT
    )


def _follow(
    files: list[tuple[str, str, bytes]],
    work: bytes,
    world: World,
    meeting: str,
    device: str,
    threads: int,
    connection: Connection,
) -> None:
    """What another process does from beginning to end."""
    try:
        torch.set_num_threads(threads)
        import_files(files)
        skeleton, follow = pickle.loads(work)
        model = _built(*skeleton)
        connection.send(_READY)
        _meet(world, meeting, device)
        follow(world, model)
        dist.destroy_process_group()
    except Exception as error:
        with suppress(OSError):  # nobody is left to hear it
            connection.send(portable(error))


def _built(kind: type[PreTrainedModel], config: Any, tied: bool) -> PreTrainedModel:
    """Make a model of the kind that the first process has."""
    model = kind(config)
    if is_tied(model) and not tied:
        output: Any = model.get_output_embeddings()
        output.weight = nn.Parameter(output.weight.detach().clone())
        keep_untied(model)
    fuse_activations(model)
    return model


def _cause(others: Sequence[tuple[BaseProcess, Connection]]) -> Exception | None:
    """Return why another process failed; where several did, what is no mere consequence of that."""
    found: list[Exception] = []
    for process, connection in others:
        with suppress(EOFError, OSError):
            while connection.poll(1):
                if isinstance(said := connection.recv(), Exception):
                    found.append(said)
        if process.exitcode and process.exitcode < 0:
            found.append(TrainingError(f"a training process (process {process.pid}) {ending(process.exitcode)}"))

    def rank(error: Exception) -> tuple[bool, bool]:  # that a connection closed is what the others notice
        return not isinstance(error, SelfstudyError), "onnection" in str(error)

    return min(found, key=rank, default=None)


def _end(others: Sequence[tuple[BaseProcess, Connection]]) -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
    for process, _ in others:
        process.join(timeout=10)
        if process.is_alive():
            process.kill()
            process.join()
