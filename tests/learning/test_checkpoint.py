"""Checkpoints: what a disk does to one is found before a training goes on from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from selfstudy.errors import StorageError
from selfstudy.learning.checkpoint import MODEL, OPTIMIZER, STATE, State, load_checkpoint, save_checkpoint


def training(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_what_was_saved_is_restored(tmp_path: Path) -> None:
    model, optimizer = training(0)
    save_checkpoint(tmp_path, State(3, 100), model, optimizer)
    other, moments = training(1)
    assert load_checkpoint(tmp_path, other, moments) == State(3, 100)
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(moments.state[other.weight]["exp_avg"], optimizer.state[model.weight]["exp_avg"])


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER, STATE])
def test_no_bit_of_a_checkpoint_is_free(name: str, tmp_path: Path) -> None:
    """White space in JSON apart."""
    save_checkpoint(tmp_path, State(3, 100), *training(0))
    file = tmp_path / "step-000003" / name
    whole = file.read_bytes()
    for at in range(len(whole)):
        if whole[at : at + 1].isspace():
            continue
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StorageError, match=r"step-000003.*; delete .*step-000003|delete it to start again"):
            load_checkpoint(tmp_path, *training(0))
    file.write_bytes(whole)
    assert load_checkpoint(tmp_path, *training(0)) is not None


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER, STATE])
@pytest.mark.parametrize("left", [0, 1, 0.5, None])
def test_a_truncated_or_missing_file_is_named(name: str, left: float | None, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, State(3, 100), *training(0))
    file = tmp_path / "step-000003" / name
    data = file.read_bytes()
    file.unlink()
    if left is not None:
        file.write_bytes(data[: int(left * len(data)) if left < 1 else int(left)])
    with pytest.raises(StorageError, match=r"step-000003: this checkpoint cannot be read .*; delete it to start again"):
        load_checkpoint(tmp_path, *training(0))
