"""The training loop: accumulate, clip, step, log, checkpoint, resume; one for all that is learnt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfstudy.errors import TrainingError, listed
from selfstudy.evaluation.ledger import Stack, training_flops
from selfstudy.learning.checkpoint import State, load_checkpoint, save_checkpoint
from selfstudy.learning.groups import labels_of, micro_batches, select, shares, tokens_of
from selfstudy.learning.logprobs import autocast, logprobs
from selfstudy.learning.modes import in_training, set_mode
from selfstudy.learning.objectives import Objective
from selfstudy.learning.optim import OptimSettings, make_optimizer
from selfstudy.learning.order import Order
from selfstudy.learning.sharding import shard, unshard, whole
from selfstudy.learning.train_log import Record, TrainLog
from selfstudy.learning.world import World, started
from selfstudy.models.attention import attending_flat
from selfstudy.models.compute import Compute, out_of_memory
from selfstudy.models.load import family
from selfstudy.models.lora import Adapter
from selfstudy.models.stacks import stacks
from selfstudy.storage.seeding import derive
from selfstudy.types import Context


@dataclass(frozen=True, slots=True)
class TrainFacts:
    """What a training did; the same whether it was resumed or not.

    Attributes:
        steps: Optimizer steps taken.
        stopped: Whether ``after_step`` ended it early.
        tokens: Completion tokens (labels) learnt from.
        positions: Tokens computed, prompts included.
        flops: Floating-point operations of forward and backward passes, by the ledger's estimate.
        halved: Steps for which memory was too small, so that they were split further: equal to rounding, not in bytes.
        last: The last step's metrics, as logged.
    """

    steps: int
    stopped: bool
    tokens: int
    positions: int
    flops: int
    halved: int
    last: Record

    @property
    def cost(self) -> dict[str, Any]:
        """Return what an artifact's metrics say of the training's length, and whether memory ran out in it."""
        degraded = {"degraded": True, "degraded_steps": self.halved} if self.halved else {}
        counts = {"steps": self.steps, "tokens": self.tokens, "positions": self.positions, "flops": self.flops}
        return {**counts, **degraded}


def train(
    model: PreTrainedModel,
    objective: Objective,
    settings: OptimSettings,
    *,
    compute: Compute,
    seed: int,
    workdir: Path,
    ctx: Context,
    after_step: Callable[[int], bool] | None = None,
) -> TrainFacts:
    """Train ``model`` in place and leave it in evaluation mode; go on from a checkpoint where ``workdir`` has one.

    Every step is a function of (seed, step): which items it takes, and its dropout. So a run that was killed at any
    step and resumed ends with the bytes of one that was not (on CPU), in the weights and in ``train_log.jsonl``.

    Where memory runs out, a step begins anew with half of ``tokens_per_batch``, and those to come keep to it: the sums
    are the same up to rounding (dropout draws other noise). The log marks these steps (``halved``).

    Args:
        model: With float32 weights; moved to ``compute.device``.
        objective: What to learn.
        settings: Optimiser, schedule, batch.
        compute: Device, and precision of the matrix products.
        seed: Of order and dropout.
        workdir: Where the log and checkpoints are written; must exist.
        ctx: Progress, events (``train_step``), checkpoint interval.
        after_step: Called with the number of steps done, the model in evaluation mode; True ends the training. It is
            called again for steps that a kill undid.

    Raises:
        TrainingError: Nothing to learn from, weights that are not float32, a loss or gradient that is not finite, or
            memory that is too small for a single example or pair.
        StorageError: The checkpoint in ``workdir`` cannot be used.
    """
    if not objective.items:
        raise TrainingError("nothing to learn from: there is not one example or pair")
    if settings.sharding == "fsdp" and after_step is not None:
        raise TrainingError("a sharded model cannot be looked at while it learns; set preference.guard=off")
    job = _Job(objective, settings, compute, seed, workdir)
    follow = partial(_follow, job, after_step is not None, ctx.checkpoint_every)
    with started(settings.devices, model, compute.device, follow) as world:
        run, done = _prepare(job, world, model)
        stopped = False
        with (
            TrainLog(workdir, done) as log,
            in_training(run.model, settings),
            ctx.progress(objective.name, run.planned) as bar,
        ):
            bar.advance(done)
            while done < run.planned and not stopped:
                try:
                    record = log.add({"step": done + 1, **_step(run, done)})
                except _NotFiniteError as error:
                    if run.model is not model:  # others would have to help, who have raised it too
                        raise TrainingError(f"{error}; the same command comes to this step again") from None
                    log.sync()
                    save_checkpoint(workdir, State(done, run.tokens_per_batch), run.model, run.optimizer)
                    raise TrainingError(
                        f"{error}; what was before this step is kept, and the same command begins with it again"
                    ) from None
                done += 1
                ctx.emit("train_step", record)
                bar.advance(1, loss=record["loss"])
                if after_step is not None:
                    model.eval()
                    stopped = world.agree(after_step(done))
                    set_mode(model, settings)
                if done % ctx.checkpoint_every == 0 and done < run.planned and not stopped:
                    log.sync()
                    save_checkpoint(workdir, State(done, run.tokens_per_batch), run.model, run.optimizer)
            if run.model is not model:
                unshard(run.model, model)
                model.to(compute.device)
    tokens, positions, flops, halved = (
        int(sum(record.get(name, 0) for record in log.records)) for name in ("tokens", "positions", "flops", "halved")
    )
    return TrainFacts(done, stopped, tokens, positions, flops, halved, log.records[-1])


@dataclass(frozen=True, slots=True)
class _Job:
    """What every process of a training is told."""

    objective: Objective
    settings: OptimSettings
    compute: Compute
    seed: int
    workdir: Path


def _follow(job: _Job, watched: bool, checkpoint_every: int, world: World, model: PreTrainedModel) -> None:
    """Take a share of each step in another process than the first."""
    job.compute.apply()
    if job.settings.lora is not None:
        Adapter(model, job.settings.lora, job.seed)
    run, done = _prepare(job, world, model)
    stopped = False
    with in_training(run.model, job.settings):
        while done < run.planned and not stopped:
            _step(run, done)
            done += 1
            stopped = watched and world.agree(False)
            if run.model is not model and done % checkpoint_every == 0 and done < run.planned:
                state = State(done, run.tokens_per_batch)
                save_checkpoint(job.workdir, state, run.model, run.optimizer, write=False)
        if run.model is not model:
            unshard(run.model, model)


def _prepare(job: _Job, world: World, model: PreTrainedModel) -> tuple[_Run, int]:
    """Return what all steps need, and how many are done."""
    settings, device = job.settings.of(model), job.compute.device
    costs = stacks(model)  # before anything is sharded
    if settings.sharding == "fsdp":
        model.to("cpu")
        world.spread(model)
        model = shard(model, world, device)
    else:
        model.to(torch.device("cuda", world.rank) if device == "cuda" else device)
        world.spread(model)
    optimizer = make_optimizer(model, settings)
    state = load_checkpoint(job.workdir, model, optimizer) or State(0, settings.tokens_per_batch)
    items = job.objective.items
    owners = [item.group for item in items] if settings.order == "grouped" else range(len(items))
    run = _Run(
        job=job,
        settings=settings,
        model=model,
        optimizer=optimizer,
        world=world,
        order=Order(owners, None if settings.order == "given" else job.seed),
        planned=settings.total_steps(len(items)),
        stacks=costs,
        tokens_per_batch=state.tokens_per_batch,
    )
    return run, state.step


@dataclass(slots=True)
class _Run:
    """What stays the same over the steps of one training, but for ``tokens_per_batch``, which memory may halve.

    Attributes:
        settings: The job's, those that are ``auto`` resolved for the model.
    """

    job: _Job
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


def _step(run: _Run, step: int) -> Record:
    """Take optimizer step ``step`` (from 0) and return its metrics, the same in every process."""
    model, settings, world = run.model, run.settings, run.world
    batch = run.order.batch(step, settings.batch_size)
    found = _gradients(run, step, batch)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sums = torch.stack([sum(found.losses, torch.zeros((), device=model.device)), *found.metrics.values()])
    counts = torch.tensor([found.tokens, found.positions, found.flops])
    world.add_up([sums])
    world.add_up([counts])
    if world.size > 1 and settings.sharding == "none":
        _add_up_gradients(trained, world)
    rate = settings.rate(step + 1, run.planned)
    for part_of_optimizer in run.optimizer.param_groups:
        part_of_optimizer["lr"] = rate
    norm = whole(torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm))
    # The one place where the host waits for the device; nothing has been changed yet.
    values: list[float] = torch.stack([norm, *sums, *found.losses]).tolist()
    shown, losses = values[: 1 + len(sums)], values[1 + len(sums) :]
    if not all(map(math.isfinite, shown[:2])):  # in all processes
        raise _not_finite(run, step, batch, found.parts, losses, shown[0])
    _update(run, trained)
    tokens, positions, flops = counts.tolist()
    return {
        "loss": shown[1],
        "learning_rate": rate,
        "grad_norm": shown[0],
        "tokens": tokens,
        "positions": positions,
        "flops": flops,
        **dict(zip(found.metrics, shown[2:], strict=True)),
        **({"halved": 1} if run.tokens_per_batch < settings.tokens_per_batch else {}),
    }


def _update(run: _Run, trained: Sequence[torch.nn.Parameter]) -> None:
    """Move the weights; the first step makes room for the optimizer's moments, when all else has had its own."""
    try:
        run.optimizer.step()
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


def _gradients(run: _Run, step: int, batch: Sequence[int]) -> _Sums:
    """Accumulate the gradients of this process's share of a step, anew with smaller parts where memory runs out."""
    while True:
        found, starved = _accumulate(run, step, batch)
        tokens = run.tokens_per_batch
        if found is None:  # nothing can be done about a single item
            tokens = min(tokens, _tokens(run, starved)) // 2 if len(starved) > 1 else 0
        # All processes split alike, so that a step does not depend on which of them was short of memory.
        least = run.world.least(tokens)
        if least == 0:
            raise _no_memory(run, run.world.joined(starved))
        if least == run.tokens_per_batch:
            assert found is not None
            return found
        run.tokens_per_batch = least


def _accumulate(run: _Run, step: int, batch: Sequence[int]) -> tuple[_Sums | None, Sequence[int]]:
    """Accumulate gradients; where memory runs out, return None and the items that it was not enough for."""
    model, objective, world = run.model, run.job.objective, run.world
    seq2seq, sharded = family(model) == "seq2seq", run.settings.sharding == "fsdp"
    split = partial(micro_batches, objective.groups, objective.items)
    everyones = shares(objective.groups, objective.items, batch, world.size, seq2seq)
    parts = split(everyones[world.rank], run.tokens_per_batch, seq2seq)
    share, _ = select(objective.groups, [objective.items[index] for index in everyones[world.rank]])
    # All processes of a sharded model must run it equally often: those with less to do compute something for nothing.
    most = max(len(split(share, run.tokens_per_batch, seq2seq)) for share in everyones) if sharded else len(parts)
    metrics = {name: torch.zeros((), device=model.device) for name in objective.metrics}
    found = _Sums(parts, [], metrics, labels_of(share))
    total = objective.total(batch)
    decoder, encoder = run.stacks
    run.optimizer.zero_grad(set_to_none=True)
    for number, part in enumerate([*parts, *[batch[:1]] * (most - len(parts))]):
        groups, rows = select(objective.groups, [objective.items[index] for index in part])
        torch.manual_seed(derive(run.job.seed, "dropout", step, number, *([world.rank] if world.rank else [])))
        try:
            with attending_flat(model, encoder=True):  # gradient checkpointing attends once more in the backward pass
                with autocast(run.job.compute):
                    logps = logprobs(model, groups)
                loss, measured = objective.loss(logps, rows, part, total)
                # Gradients of a sharded model are averaged.
                weight = (world.size if number < len(parts) else 0) if sharded else 1
                torch.autograd.backward(loss * weight)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if sharded:  # the other processes are in the middle of this part, too
                raise _no_memory(run, part) from error
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
        run.optimizer.zero_grad(set_to_none=True)
        run.job.compute.release()
        return None, part
    return found, []


def _tokens(run: _Run, part: Sequence[int]) -> int:
    groups, _ = select(run.job.objective.groups, [run.job.objective.items[index] for index in part])
    seq2seq = family(run.model) == "seq2seq"
    return sum(tokens_of(group, range(len(group.completions)), seq2seq) for group in groups)


def _no_memory(run: _Run, part: Sequence[int]) -> TrainingError:
    said = f"{_problems(run, part)}: memory is too small to learn from {_tokens(run, part)} tokens at once"
    if run.settings.sharding == "fsdp":
        return TrainingError(f"{said}; lower tokens_per_batch, or set gradient_checkpointing")
    return TrainingError(
        f"{said}, which cannot be split further; set gradient_checkpointing, or "
        "leave these out by lower max_prompt_tokens or max_completion_tokens"
    )


def _problems(run: _Run, items: Sequence[int]) -> str:
    """Return the problems that items are of."""
    objective = run.job.objective
    return listed(objective.groups[objective.items[index].group].problem_id for index in items)


class _NotFiniteError(TrainingError):
    """A step that would have spoilt the weights, which it has not changed."""


def _not_finite(
    run: _Run, step: int, batch: Sequence[int], parts: Sequence[Sequence[int]], losses: Sequence[float], norm: float
) -> _NotFiniteError:
    """Say which problems are to blame, before the optimizer step, while the weights are still good."""
    bad = [index for part, loss in zip(parts, losses, strict=True) if not math.isfinite(loss) for index in part]
    bad = run.world.joined(bad)
    what = "the loss is not finite" if bad else f"the loss is finite, but not its gradient (norm {norm})"
    narrow = (
        "" if run.job.compute.dtype == "float32" else f", or set compute.dtype: float32 (it is {run.job.compute.dtype})"
    )
    return _NotFiniteError(
        f"step {step + 1}: {what}; problems in the batch: {_problems(run, bad or batch)}. Look at their completions, "
        f"or lower learning_rate ({run.settings.learning_rate:g}){narrow}"
    )
