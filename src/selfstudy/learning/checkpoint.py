"""Checkpoints in an own format: safetensors and JSON, no pickle; a folder is whole or not there.

``step-000400/`` holds the trainable parameters, the optimizer's state by parameter name, and the step. Nothing else is
needed: order and dropout are functions of (seed, step), and the log is cut to the step on resume.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from selfstudy.errors import StorageError
from selfstudy.learning.sharding import like, whole
from selfstudy.storage.artifacts import seal, sha256
from selfstudy.storage.atomic import as_os_error, publish_folder, write_json

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
FORMAT = 3


class State(NamedTuple):
    """Where a training stands, beside its weights.

    Attributes:
        step: Optimizer steps done.
        tokens_per_batch: To which memory has halved it.
    """

    step: int
    tokens_per_batch: int


def save_checkpoint(
    workdir: Path, state: State, model: nn.Module, optimizer: torch.optim.Optimizer, *, write: bool = True
) -> None:
    """Write the state of a training, then remove older checkpoints; one of the same step is the same.

    Args:
        workdir: Holds checkpoints.
        state: Where it stands.
        model: Sharded or whole.
        optimizer: Of its trainable parameters.
        write: False in all processes but the first, which are needed where a model is sharded.
    """
    parameters = _trainable(model)
    weights: dict[str, Tensor] = {}
    moments: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        _gather(weights, name, parameter, write)
        for key, value in optimizer.state.get(parameter, {}).items():
            _gather(moments, f"{key}.{name}", value, write)
    path = workdir / f"step-{state.step:06d}"
    if not write or path.exists():
        return
    with publish_folder(path) as folder, as_os_error(path):
        save_file(weights, folder / MODEL)
        save_file(moments, folder / OPTIMIZER)
        digests = {name: sha256(folder / name) for name in (MODEL, OPTIMIZER)}
        tree = {"format": FORMAT, **state._asdict(), "sha256": digests}
        write_json(folder / STATE, {**tree, "seal": seal(tree)})
    for older in _checkpoints(workdir)[:-1]:
        shutil.rmtree(older)


def _gather(into: dict[str, Tensor], name: str, tensor: Tensor, keep: bool) -> None:
    """Gather one tensor from all processes; kept on the CPU, so that a sharded model is never whole on a GPU."""
    value = whole(tensor.detach())
    if keep:
        into[name] = value.cpu().contiguous()


def load_checkpoint(workdir: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> State | None:
    """Restore the newest checkpoint in place and say where it stands; None where there is none.

    Raises:
        StorageError: It cannot be read, or belongs to another model.
    """
    found = _checkpoints(workdir)
    if not found:
        return None
    path = found[-1]
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        weights, moments = load_file(path / MODEL), load_file(path / OPTIMIZER)
        format = state.get("format")
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        raise StorageError(f"{path}: this checkpoint cannot be read ({error}); delete it to start again") from error
    if format != FORMAT:
        raise StorageError(f"{path}: checkpoint format {format} instead of {FORMAT}; delete it to start again")
    changed = [STATE] if state.get("seal") != seal(state) else []
    changed += [name for name in (MODEL, OPTIMIZER) if not changed and sha256(path / name) != state["sha256"][name]]
    if changed:
        raise StorageError(
            f"{path / changed[0]} is not as it was written: a disk's fault; delete {path} to start again"
        )
    parameters = _trainable(model)
    if {name: value.shape for name, value in weights.items()} != {name: p.shape for name, p in parameters.items()}:
        raise StorageError(f"{path}: this checkpoint is of another model; delete it to start again")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(like(weights[name], parameter))
    for key_and_name, value in moments.items():
        key, name = key_and_name.split(".", 1)
        parameter = parameters[name]
        optimizer.state[parameter][key] = like(value, parameter)
    return State(int(state["step"]), int(state["tokens_per_batch"]))


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes, tied weights once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _checkpoints(workdir: Path) -> list[Path]:
    """Return complete checkpoints, oldest first; one being written has a name that starts with a dot."""
    return sorted(workdir.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
