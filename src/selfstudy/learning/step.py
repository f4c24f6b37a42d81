"""One optimizer step: its gradients over all processes, split where memory runs out, refused where not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfstudy.errors import TrainingError, listed
from selfstudy.evaluation.ledger import Stack, training_flops
from selfstudy.learning.groups import labels_of, micro_batches, select, shares, tokens_of
from selfstudy.learning.logprobs import autocast, logprobs
from selfstudy.learning.objectives import Objective
from selfstudy.learning.optim import OptimSettings
from selfstudy.learning.order import Order
from selfstudy.learning.sharding import whole
from selfstudy.learning.train_log import Record
from selfstudy.learning.world import World
from selfstudy.models.attention import attending_flat
from selfstudy.models.compute import Compute, out_of_memory
from selfstudy.models.load import family
from selfstudy.storage.seeding import derive


@dataclass(frozen=True, slots=True)
class Job:
    """What every process of a training is told.

    Attributes:
        objective: What to learn.
        settings: Optimiser, schedule, batch.
        compute: Device, and precision of the matrix products.
        seed: Of order and dropout.
        workdir: Where checkpoints lie.
    """

    objective: Objective
    settings: OptimSettings
    compute: Compute
    seed: int
    workdir: Path


@dataclass(slots=True)
class Training:
    """What stays the same over the steps of one training, but for ``tokens_per_batch``, which memory may halve.

    Attributes:
        job: What this is part of.
        settings: The job's, those that are ``auto`` resolved for the model.
        model: In training mode; spread over the processes where they share its weights.
        optimizer: Of its weights.
        world: The processes that take the same steps.
        order: Which items a step learns from.
        planned: Steps in all, which the schedule is made for.
        stacks: Sizes of the decoder and the encoder, for the count of operations.
        tokens_per_batch: Tokens of a micro-batch at most.
    """

    job: Job
    settings: OptimSettings
    model: PreTrainedModel
    optimizer: torch.optim.Optimizer
    world: World
    order: Order
    planned: int
    stacks: tuple[Stack, Stack | None]
    tokens_per_batch: int


@dataclass(slots=True)
class _Sums:
    """What one process found over its share of a step, beside the gradients.

    Attributes:
        parts: Its micro-batches.
        losses: One for each, on the device.
        metrics: Sums, on the device.
        tokens: Labels.
        positions: Tokens computed.
        flops: Floating-point operations of the forward and backward passes.
    """

    parts: Sequence[Sequence[int]]
    losses: list[Tensor]
    metrics: dict[str, Tensor]
    tokens: int = 0
    positions: int = 0
    flops: int = 0


def take_step(training: Training, step: int) -> Record:
    """Take optimizer step ``step`` (from 0) and return its metrics, the same in every process.

    Where memory runs out, it begins anew with half of ``tokens_per_batch``, which stays so for the steps to come.

    Raises:
        NotFiniteError: A loss or gradient is not finite; nothing has been changed.
        TrainingError: Memory is too small for a single example or pair, or for the optimizer's moments.
    """
    model, settings, world = training.model, training.settings, training.world
    batch = training.order.batch(step, settings.batch_size)
    found = _gradients(training, step, batch)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sums = torch.stack([sum(found.losses, torch.zeros((), device=model.device)), *found.metrics.values()])
    counts = torch.tensor([found.tokens, found.positions, found.flops])
    world.add_up([sums])
    world.add_up([counts])
    if world.size > 1 and settings.sharding == "none":
        _add_up_gradients(trained, world)
    rate = settings.rate(step + 1, training.planned)
    for part_of_optimizer in training.optimizer.param_groups:
        part_of_optimizer["lr"] = rate
    norm = whole(torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm))
    # The one place where the host waits for the device; nothing has been changed yet.
    values: list[float] = torch.stack([norm, *sums, *found.losses]).tolist()
    shown, losses = values[: 1 + len(sums)], values[1 + len(sums) :]
    if not all(map(math.isfinite, shown[:2])):  # in all processes
        raise _not_finite(training, step, batch, found.parts, losses, shown[0])
    _update(training, trained)
    tokens, positions, flops = counts.tolist()
    return {
        "loss": shown[1],
        "learning_rate": rate,
        "grad_norm": shown[0],
        "tokens": tokens,
        "positions": positions,
        "flops": flops,
        **dict(zip(found.metrics, shown[2:], strict=True)),
        **({"halved": 1} if training.tokens_per_batch < settings.tokens_per_batch else {}),
    }


def _update(training: Training, trained: Sequence[torch.nn.Parameter]) -> None:
    """Move the weights; the first step makes room for the optimizer's moments, when all else has had its own."""
    try:
        training.optimizer.step()
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        count = sum(parameter.numel() for parameter in trained)
        raise TrainingError(
            f"memory is too small for the optimizer's two moments of {count:,} weights ({8 * count / 1e9:.1f} GB); set "
            "lora, or take a smaller model"
        ) from error


def _add_up_gradients(trained: Sequence[torch.nn.Parameter], world: World) -> None:
    """Replace gradients by their sums; what no process has a gradient of goes without, as it does in one process."""
    touched = torch.tensor([int(parameter.grad is not None) for parameter in trained])
    world.add_up([touched])
    used = [parameter for parameter, count in zip(trained, touched.tolist(), strict=True) if count]
    for parameter in used:
        if parameter.grad is None:  # this process had no share
            parameter.grad = torch.zeros_like(parameter)
    world.add_up([parameter.grad for parameter in used if parameter.grad is not None])


def _gradients(training: Training, step: int, batch: Sequence[int]) -> _Sums:
    """Accumulate the gradients of this process's share of a step, anew with smaller parts where memory runs out."""
    while True:
        found, starved = _accumulate(training, step, batch)
        tokens = training.tokens_per_batch
        if found is None:  # nothing can be done about a single item
            tokens = min(tokens, _tokens(training, starved)) // 2 if len(starved) > 1 else 0
        # All processes split alike, so that a step does not depend on which of them was short of memory.
        least = training.world.least(tokens)
        if least == 0:
            raise _no_memory(training, training.world.joined(starved))
        if least == training.tokens_per_batch:
            assert found is not None
            return found
        training.tokens_per_batch = least


def _accumulate(training: Training, step: int, batch: Sequence[int]) -> tuple[_Sums | None, Sequence[int]]:
    """Accumulate gradients; where memory runs out, return None and the items that it was not enough for."""
    model, objective, world = training.model, training.job.objective, training.world
    seq2seq, sharded = family(model) == "seq2seq", training.settings.sharding == "fsdp"
    split = partial(micro_batches, objective.groups, objective.items)
    everyones = shares(objective.groups, objective.items, batch, world.size, seq2seq)
    parts = split(everyones[world.rank], training.tokens_per_batch, seq2seq)
    share, _ = select(objective.groups, [objective.items[index] for index in everyones[world.rank]])
    # All processes of a sharded model must run it equally often: those with less to do compute something for nothing.
    most = max(len(split(share, training.tokens_per_batch, seq2seq)) for share in everyones) if sharded else len(parts)
    metrics = {name: torch.zeros((), device=model.device) for name in objective.metrics}
    found = _Sums(parts, [], metrics, labels_of(share))
    total = objective.total(batch)
    decoder, encoder = training.stacks
    training.optimizer.zero_grad(set_to_none=True)
    for number, part in enumerate([*parts, *[batch[:1]] * (most - len(parts))]):
        groups, rows = select(objective.groups, [objective.items[index] for index in part])
        torch.manual_seed(derive(training.job.seed, "dropout", step, number, *([world.rank] if world.rank else [])))
        try:
            with attending_flat(model, encoder=True):  # gradient checkpointing attends once more in the backward pass
                with autocast(training.job.compute):
                    logps = logprobs(model, groups)
                loss, measured = objective.loss(logps, rows, part, total)
                # Gradients of a sharded model are averaged.
                weight = (world.size if number < len(parts) else 0) if sharded else 1
                torch.autograd.backward(loss * weight)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if sharded:  # the other processes are in the middle of this part, too
                raise _no_memory(training, part) from error
        else:
            if number < len(parts):
                found.losses.append(loss.detach())
                for name, value in measured.items():
                    found.metrics[name] = found.metrics[name] + value
                found.positions += logps.positions
                found.flops += sum(
                    training_flops(decoder, len(group.prompt_ids), list(map(len, group.completions)), encoder)
                    for group in groups
                )
            continue
        # Outside of the handler, so that the traceback no longer holds the tensors.
        training.optimizer.zero_grad(set_to_none=True)
        training.job.compute.release()
        return None, part
    return found, []


def _tokens(training: Training, part: Sequence[int]) -> int:
    groups, _ = select(training.job.objective.groups, [training.job.objective.items[index] for index in part])
    seq2seq = family(training.model) == "seq2seq"
    return sum(tokens_of(group, range(len(group.completions)), seq2seq) for group in groups)


def _no_memory(training: Training, part: Sequence[int]) -> TrainingError:
    said = f"{_problems(training, part)}: memory is too small to learn from {_tokens(training, part)} tokens at once"
    if training.settings.sharding == "fsdp":
        return TrainingError(f"{said}; lower tokens_per_batch, or set gradient_checkpointing")
    return TrainingError(
        f"{said}, which cannot be split further; set gradient_checkpointing, or "
        "leave these out by lower max_prompt_tokens or max_completion_tokens"
    )


def _problems(training: Training, items: Sequence[int]) -> str:
    """Return the problems that items are of."""
    objective = training.job.objective
    return listed(objective.groups[objective.items[index].group].problem_id for index in items)


class NotFiniteError(TrainingError):
    """A step that would have spoilt the weights, which it has not changed."""


def _not_finite(
    training: Training,
    step: int,
    batch: Sequence[int],
    parts: Sequence[Sequence[int]],
    losses: Sequence[float],
    norm: float,
) -> NotFiniteError:
    """Say which problems are to blame, before the optimizer step, while the weights are still good."""
    bad = [index for part, loss in zip(parts, losses, strict=True) if not math.isfinite(loss) for index in part]
    bad = training.world.joined(bad)
    what = "the loss is not finite" if bad else f"the loss is finite, but not its gradient (norm {norm})"
    problems, dtype = _problems(training, bad or batch), training.job.compute.dtype
    narrow = "" if dtype == "float32" else f", or set compute.dtype: float32 (it is {dtype})"
    return NotFiniteError(
        f"step {step + 1}: {what}; problems in the batch: {problems}. Look at their completions, or lower "
        f"learning_rate ({training.settings.learning_rate:g}){narrow}"
    )
