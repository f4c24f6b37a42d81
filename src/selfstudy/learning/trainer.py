"""The training loop: accumulate, clip, step, log, checkpoint, resume; one for SFT and preference learning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor, nn
from transformers import PreTrainedModel

from selfstudy.errors import TrainingError
from selfstudy.learning.checkpoint import load_checkpoint, save_checkpoint
from selfstudy.learning.groups import micro_batches, select
from selfstudy.learning.logprobs import autocast, logprobs
from selfstudy.learning.objectives import Objective
from selfstudy.learning.optim import OptimSettings, make_optimizer
from selfstudy.learning.order import Order
from selfstudy.learning.train_log import Record, TrainLog
from selfstudy.models.attention import flat
from selfstudy.models.compute import Compute
from selfstudy.models.load import family
from selfstudy.storage.seeding import derive
from selfstudy.types import Context


@dataclass(frozen=True, slots=True)
class TrainFacts:
    """What a training did; the same whether it was resumed or not.

    Attributes:
        steps: Optimizer steps taken.
        planned_steps: Steps that the settings asked for.
        stopped: Whether ``after_step`` ended it early.
        tokens: Completion tokens (labels) learnt from.
        positions: Tokens computed, prompts included.
        last: The last step's metrics, as logged.
    """

    steps: int
    planned_steps: int
    stopped: bool
    tokens: int
    positions: int
    last: Record


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
        TrainingError: Nothing to learn from, weights that are not float32, or a loss or gradient that is not finite.
        StorageError: The checkpoint in ``workdir`` cannot be used.
    """
    if not objective.items:
        raise TrainingError("nothing to learn from: there is not one example or pair")
    accelerator = _accelerator(compute.device)
    model.to(accelerator.device)
    optimizer = make_optimizer(model, settings)
    done = load_checkpoint(workdir, model, optimizer)
    planned = settings.total_steps(len(objective.items))
    grouped = settings.order == "grouped"
    order = Order([item.group if grouped else number for number, item in enumerate(objective.items)], seed)
    run = _Run(model, objective, settings, compute, seed, order, accelerator, optimizer)
    stopped = False
    with (
        TrainLog(workdir, done) as log,
        _training(model, settings),
        torch.random.fork_rng(devices=[accelerator.device] if accelerator.device.type == "cuda" else []),
        ctx.progress(objective.name, planned) as bar,
    ):
        bar.advance(done)
        while done < planned and not stopped:
            record = log.add({"step": done + 1, **_step(run, done, planned)})
            done += 1
            ctx.emit("train_step", record)
            bar.advance(1, loss=record["loss"])
            if after_step is not None:
                model.eval()
                stopped = after_step(done)
                _set_mode(model, settings)
            if done % ctx.checkpoint_every == 0 and done < planned and not stopped:
                log.sync()
                save_checkpoint(workdir, done, model, optimizer)
    tokens, positions = (int(sum(record[name] for record in log.records)) for name in ("tokens", "positions"))
    return TrainFacts(done, planned, stopped, tokens, positions, log.records[-1])


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same over the steps of one training."""

    model: PreTrainedModel
    objective: Objective
    settings: OptimSettings
    compute: Compute
    seed: int
    order: Order
    accelerator: Accelerator
    optimizer: torch.optim.Optimizer


def _step(run: _Run, step: int, planned: int) -> Record:
    """Take optimizer step ``step`` (from 0) and return its metrics."""
    model, objective, settings = run.model, run.objective, run.settings
    batch = run.order.batch(step, settings.batch_size)
    seq2seq = family(model) == "seq2seq"
    parts = micro_batches(objective.groups, objective.items, batch, settings.tokens_per_batch, seq2seq)
    total = objective.total(batch)
    losses: list[Tensor] = []
    metrics: dict[str, Tensor] = {}
    tokens = positions = 0
    run.optimizer.zero_grad(set_to_none=True)
    for number, part in enumerate(parts):
        groups, rows = select(objective.groups, [objective.items[index] for index in part])
        torch.manual_seed(derive(run.seed, "dropout", step, number))
        with flat(model, encoder=True):  # gradient checkpointing attends once more in the backward pass
            with autocast(run.compute):
                logps = logprobs(model, groups)
            loss, shares = objective.loss(logps, rows, part, total)
            run.accelerator.backward(loss)
        losses.append(loss.detach())
        for name, share in shares.items():
            metrics[name] = metrics[name] + share if name in metrics else share
        tokens += len(logps.logps)
        positions += logps.positions
    rate = settings.rate(step + 1, planned)
    for part_of_optimizer in run.optimizer.param_groups:
        part_of_optimizer["lr"] = rate
    norm = run.accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
    # The one place where the host waits for the device; nothing has been changed yet.
    values: list[float] = torch.stack([*losses, norm, *metrics.values()]).tolist()
    _refuse_non_finite(run, step, parts, values[: len(parts)], values[len(parts)])
    run.optimizer.step()
    return {
        "loss": sum(values[: len(parts)]),
        "learning_rate": rate,
        "grad_norm": values[len(parts)],
        "tokens": tokens,
        "positions": positions,
        **dict(zip(metrics, values[len(parts) + 1 :], strict=True)),
    }


def _refuse_non_finite(
    run: _Run, step: int, parts: Sequence[Sequence[int]], losses: Sequence[float], norm: float
) -> None:
    """Stop before the optimizer step, while the weights are still good."""
    bad = [index for part, loss in zip(parts, losses, strict=True) if not math.isfinite(loss) for index in part]
    if not bad and math.isfinite(norm):
        return
    what = "the loss is" if bad else f"the gradient's norm is {norm}, it is"
    items, groups = run.objective.items, run.objective.groups
    everything = [index for part in parts for index in part]
    ids = list(dict.fromkeys(groups[items[index].group].problem_id for index in bad or everything))
    shown = ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")
    raise TrainingError(
        f"step {step + 1}: {what} not finite; problems in the batch: {shown}. Look at their completions, or lower "
        f"learning_rate ({run.settings.learning_rate:g})"
    )


def _accelerator(device: str) -> Accelerator:
    """Make an accelerator for ``device``, whatever an earlier training in this process used.

    Accelerate keeps one state per process. Precision is left out of it: it follows from ``compute``.
    """
    before = PartialState._shared_state
    differs = bool(before) and PartialState().device.type != device
    if differs or (AcceleratorState._shared_state and AcceleratorState().mixed_precision != "no"):
        AcceleratorState._reset_state(reset_partial_state=True)
    # Without a plug-in an environment variable would divide the gradients.
    once = GradientAccumulationPlugin(num_steps=1)
    return Accelerator(cpu=device == "cpu", mixed_precision="no", gradient_accumulation_plugin=once)


def _set_mode(model: nn.Module, settings: OptimSettings) -> None:
    # Checkpointing only works in training mode; dropout is then kept out by _without_dropout.
    model.train(settings.dropout == "model" or settings.gradient_checkpointing)


@contextmanager
def _training(model: PreTrainedModel, settings: OptimSettings) -> Iterator[None]:
    """Set the model up for training; afterwards it is in evaluation mode, as it was otherwise."""
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        with _without_dropout(model) if settings.dropout == "off" else nullcontext():
            _set_mode(model, settings)
            yield
    finally:
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_disable()
        model.eval()


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """Set every dropout rate to 0: of dropout modules, and the numbers that attention layers keep for themselves."""
    kept: list[tuple[nn.Module, str, float]] = []
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and ("drop" in name or (name == "p" and isinstance(module, nn.Dropout))):
                kept.append((module, name, value))
                setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
