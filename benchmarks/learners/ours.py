"""This project's trainer."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from learners.task import BETA, Task
from selfstudy.learning.losses.dpo import Dpo
from selfstudy.learning.objectives import Imitation, Objective, Preference
from selfstudy.learning.reference import reference_logps
from selfstudy.learning.trainer import train
from selfstudy.models.compute import Compute
from selfstudy.types import SILENT


def learn(task: Task) -> tuple[PreTrainedModel, list[float], list[float], float]:
    """Train; return the model, seconds and losses of the steps, and seconds for the reference."""
    model, _ = task.load()
    compute = Compute(device="cpu", dtype=task.dtype, threads=task.threads)
    clock, losses = [], []

    def emit(event: str, fields: Mapping[str, Any]) -> None:
        if event == "train_step":
            clock.append(time.perf_counter())
            losses.append(fields["loss"])

    ctx = replace(SILENT, emit=emit, checkpoint_every=10**9)
    start = time.perf_counter()
    objective: Objective = Imitation(task.groups, task.items)
    if task.kind == "dpo":
        reference = reference_logps(model, task.groups, task.tokens_per_batch, compute, ctx)
        objective = Preference(task.groups, task.items, reference, Dpo(beta=BETA))
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train(model, objective, task.settings, compute=compute, seed=0, workdir=Path(folder), ctx=ctx)
    seconds = torch.tensor([begun, *clock], dtype=torch.float64).diff().tolist()
    return model, seconds, losses, begun - start if task.kind == "dpo" else 0.0
