"""The training loop: step, log, look, checkpoint, resume; one for all that is learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from selfstudy.errors import TrainingError
from selfstudy.learning.checkpoint import State, load_checkpoint, save_checkpoint
from selfstudy.learning.modes import in_training, set_mode
from selfstudy.learning.objectives import Objective
from selfstudy.learning.optim import OptimSettings, make_optimizer
from selfstudy.learning.order import Order
from selfstudy.learning.sharding import shard, unshard
from selfstudy.learning.step import Job, NotFiniteError, Training, take_step
from selfstudy.learning.train_log import Record, TrainLog
from selfstudy.learning.world import World, started
from selfstudy.models.compute import Compute
from selfstudy.models.lora import Adapter
from selfstudy.models.stacks import stacks
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
    job = Job(objective, settings, compute, seed, workdir)
    follow = partial(_follow, job, after_step is not None, ctx.checkpoint_every)
    with started(settings.devices, model, compute.device, follow) as world:
        training, done = _prepare(job, world, model)
        stopped = False
        with (
            TrainLog(workdir, done) as log,
            in_training(training.model, settings),
            ctx.progress(objective.name, training.planned) as bar,
        ):
            bar.advance(done)
            while done < training.planned and not stopped:
                try:
                    record = log.add({"step": done + 1, **take_step(training, done)})
                except NotFiniteError as error:
                    if training.model is not model:  # others would have to help, who have raised it too
                        raise TrainingError(f"{error}; the same command comes to this step again") from None
                    log.sync()
                    save_checkpoint(workdir, State(done, training.tokens_per_batch), training.model, training.optimizer)
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
                if done % ctx.checkpoint_every == 0 and done < training.planned and not stopped:
                    log.sync()
                    save_checkpoint(workdir, State(done, training.tokens_per_batch), training.model, training.optimizer)
            if training.model is not model:
                unshard(training.model, model)
                model.to(compute.device)
    tokens, positions, flops, halved = (
        int(sum(record.get(name, 0) for record in log.records)) for name in ("tokens", "positions", "flops", "halved")
    )
    return TrainFacts(done, stopped, tokens, positions, flops, halved, log.records[-1])


def _follow(job: Job, watched: bool, checkpoint_every: int, world: World, model: PreTrainedModel) -> None:
    """Take a share of each step in another process than the first."""
    job.compute.apply()
    if job.settings.lora is not None:
        Adapter(model, job.settings.lora, job.seed)
    training, done = _prepare(job, world, model)
    stopped = False
    with in_training(training.model, job.settings):
        while done < training.planned and not stopped:
            take_step(training, done)
            done += 1
            stopped = watched and world.agree(False)
            if training.model is not model and done % checkpoint_every == 0 and done < training.planned:
                state = State(done, training.tokens_per_batch)
                save_checkpoint(job.workdir, state, training.model, training.optimizer, write=False)
        if training.model is not model:
            unshard(training.model, model)


def _prepare(job: Job, world: World, model: PreTrainedModel) -> tuple[Training, int]:
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
    training = Training(
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
    return training, state.step
