from __future__ import annotations

import pytest
import torch

from selfstudy.errors import StorageError, TrainingError
from selfstudy.learning import reference
from selfstudy.learning.logprobs import logprobs
from selfstudy.learning.losses.dpo import Dpo
from selfstudy.learning.objectives import Preference
from selfstudy.learning.reference import load_reference, reference_logps, save_reference
from selfstudy.models.plain import plain_logprobs
from tests.learning.conftest import all_pairs, make_model, random_groups

GROUPS = random_groups(5, 3)


def test_reference_covers_every_completion_in_order(model, compute, ctx, recorder):
    sums = reference_logps(model.train(), GROUPS, 50, compute, ctx)
    expected = [plain_logprobs(model, group.prompt_ids, c).sum() for group in GROUPS for c in group.completions]
    assert torch.allclose(sums, torch.stack(expected), atol=1e-4)
    assert not sums.requires_grad
    assert recorder.advanced == 15


def test_a_completion_that_memory_is_too_small_for_is_named(compute, ctx, monkeypatch):
    def no_memory(model, groups):
        if any(group.problem_id == "p/2" for group in groups):
            raise MemoryError
        return logprobs(model, groups)

    monkeypatch.setattr(reference, "logprobs", no_memory)
    with pytest.raises(
        TrainingError,
        match=r"^p/2: memory is too small for its solution of \d+ tokens; leave it out by a lower preference",
    ):
        reference_logps(make_model("causal"), GROUPS, 500, compute, ctx)


def test_where_memory_runs_out_parts_are_halved(compute, ctx, recorder, monkeypatch):
    model = make_model("causal")
    halvings = []
    wanted = reference_logps(model, GROUPS, 500, compute, ctx)

    def little_memory(model, groups):
        if sum(len(group.completions) for group in groups) > 2:
            raise torch.OutOfMemoryError("out of memory, for this test")
        return logprobs(model, groups)

    monkeypatch.setattr(reference, "logprobs", little_memory)
    found = reference_logps(model, GROUPS, 500, compute, ctx, on_halving=lambda: halvings.append(1))
    assert torch.allclose(found, wanted, atol=1e-5)
    assert recorder.advanced == 30
    assert halvings


def test_reference_is_stored_with_what_it_belongs_to(tmp_path):
    sums = torch.randn(15)
    save_reference(tmp_path / "r.safetensors", GROUPS, sums)
    assert torch.equal(load_reference(tmp_path / "r.safetensors", GROUPS), sums)
    with pytest.raises(StorageError, match="other completions"):
        load_reference(tmp_path / "r.safetensors", GROUPS[:-1])
    file = tmp_path / "r.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")  # of the last number
    with pytest.raises(StorageError, match="damaged; delete it"):
        load_reference(file, GROUPS)
    file.write_bytes(b"damaged")
    with pytest.raises(StorageError, match="cannot be read"):
        load_reference(tmp_path / "r.safetensors", GROUPS)


@pytest.mark.parametrize("sums", [torch.zeros(14), torch.cat([torch.zeros(14), torch.tensor([torch.nan])])])
def test_incomplete_reference_is_refused(sums):
    with pytest.raises(TrainingError, match="15 finite ones are needed, received 14"):
        Preference(GROUPS, all_pairs(GROUPS), sums, Dpo())


def test_non_finite_reference_names_the_problem(compute, ctx):
    model = make_model("causal")
    rare = GROUPS[3].prompt_ids[-1]
    with torch.no_grad():
        model.get_input_embeddings().weight[rare] = torch.nan
    with pytest.raises(TrainingError, match="p/3"):
        reference_logps(model, GROUPS, 1000, compute, ctx)
