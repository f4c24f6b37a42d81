"""Reference log-probabilities: computed once, stored, and checked against the completions they are of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from selfstudy.errors import StorageError, TrainingError, listed
from selfstudy.evaluation.ledger import forward_flops
from selfstudy.learning.groups import Item, micro_batches, select
from selfstudy.learning.logprobs import autocast, logprobs
from selfstudy.models.compute import Compute, out_of_memory
from selfstudy.models.load import family
from selfstudy.models.stacks import stacks
from selfstudy.storage.atomic import as_os_error, replacing
from selfstudy.types import Context, Group


@torch.no_grad()
def reference_logps(
    model: PreTrainedModel,
    groups: Sequence[Group],
    tokens_per_batch: int,
    compute: Compute,
    ctx: Context,
    *,
    on_halving: Callable[[], object] = lambda: None,
) -> Tensor:
    """Compute the log-probability of every completion, without dropout.

    Args:
        model: The reference; put into evaluation mode.
        groups: Whose completions.
        tokens_per_batch: Tokens, prompts included, in one forward pass.
        compute: Device and precision, the same as the policy's.
        ctx: Shows progress.
        on_halving: Called where memory ran out for a forward pass, which is then done in two halves.

    Returns:
        (C,) float32 sums over tokens, group by group, on the CPU.

    Raises:
        TrainingError: One is not finite, or memory is too small for one; names the problem.
    """
    items = [Item(index, (c,)) for index, group in enumerate(groups) for c in range(len(group.completions))]
    parts = micro_batches(groups, items, range(len(items)), tokens_per_batch, family(model) == "seq2seq")
    parts.reverse()
    model.to(compute.device).eval()
    sums = torch.full((len(items),), torch.nan)
    with ctx.progress("reference", len(items)) as bar:
        while parts:
            part = parts.pop()
            chosen, rows = select(groups, [items[index] for index in part])
            try:
                with autocast(compute):
                    found = logprobs(model, chosen).sums().cpu()
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if len(part) == 1:
                    name, tokens = chosen[0].problem_id, len(chosen[0].completions[0])
                    raise TrainingError(
                        f"{name}: memory is too small for its solution of {tokens} tokens; leave it "
                        "out by a lower preference.max_completion_tokens"
                    ) from error
                on_halving()
                parts += [part[len(part) // 2 :], part[: len(part) // 2]]
            else:
                sums[torch.tensor(part)] = found[rows[:, 0]]
                bar.advance(len(part))
    if not sums.isfinite().all():
        bad = [index for index, finite in enumerate(sums.isfinite().tolist()) if not finite]
        ids = listed(groups[items[index].group].problem_id for index in bad)
        raise TrainingError(
            f"the reference model gives {ids} a log-probability that is not finite: it is damaged, or {compute.dtype} "
            "is too narrow for it; set compute.dtype: float32, or another model"
        )
    return sums


def reference_flops(model: PreTrainedModel, groups: Sequence[Group]) -> int:
    """Return the operations that :func:`reference_logps` takes."""
    decoder, encoder = stacks(model)
    return sum(
        forward_flops(decoder, len(group.prompt_ids), list(map(len, group.completions)), encoder) for group in groups
    )


def save_reference(path: Path, groups: Sequence[Group], sums: Tensor) -> None:
    """Write what :func:`reference_logps` returned, with a digest of the completions it belongs to."""
    with replacing(path) as temporary, as_os_error(path):
        # In one entry: several would be written in any order.
        save_file({"logps": sums}, temporary, metadata={"sha256": f"{_digest(groups)} {_digest_of(sums)}"})


def load_reference(path: Path, groups: Sequence[Group]) -> Tensor:
    """Read stored reference log-probabilities of exactly these groups, (C,).

    Raises:
        StorageError: The file is damaged or belongs to other completions.
    """
    try:
        with safe_open(path, framework="pt") as file:
            said, sums = (file.metadata() or {}).get("sha256", ""), file.get_tensor("logps")
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"{path}: reference log-probabilities cannot be read ({error}); delete it and run again"
        ) from error
    of_groups, _, of_sums = said.partition(" ")
    if of_groups != _digest(groups):
        raise StorageError(
            f"{path}: these reference log-probabilities are of other completions; delete it and run again"
        )
    assert isinstance(sums, Tensor)
    if of_sums != _digest_of(sums):
        raise StorageError(f"{path}: these reference log-probabilities are damaged; delete it and run again")
    return sums


def _digest_of(sums: Tensor) -> str:
    return hashlib.sha256(sums.contiguous().numpy().tobytes()).hexdigest()


def _digest(groups: Sequence[Group]) -> str:
    digest = hashlib.sha256()
    for group in groups:
        digest.update(json.dumps([group.problem_id, group.prompt_ids, group.completions, group.uncounted]).encode())
    return digest.hexdigest()
