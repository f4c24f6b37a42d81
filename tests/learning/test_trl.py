"""TRL as an oracle: the same pairs, the same optimiser, a few steps."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from selfstudy.learning.groups import Item
from selfstudy.learning.losses.dpo import Dpo
from selfstudy.learning.objectives import Preference
from selfstudy.learning.optim import OptimSettings
from selfstudy.learning.reference import reference_logps
from selfstudy.learning.trainer import train
from selfstudy.types import Group
from tests.fakes import byte_tokenizer, tiny_llama

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")

ROWS = [
    {
        "prompt": f"Tom has {n} apples.\nAnswer:",
        "chosen": f" He has {n}.\n#### {n}",
        "rejected": f" {wrong}\n#### {n + 1}",
    }
    for n, wrong in [(3, "Four."), (12, "It is thirteen, I think."), (7, "8"), (25, "He buys some more. 26")]
]


def test_dpo_on_a_causal_model_equals_trl(tmp_path, ctx, compute):
    tokenizer = byte_tokenizer()
    model = tiny_llama(len(tokenizer))
    theirs, reference = copy.deepcopy(model), copy.deepcopy(model)
    with (
        torch.no_grad()
    ):  # another model, or rounding would decide at the first step which of two equal rewards is larger
        reference.lm_head.weight *= 1.2
    oracle = trl.DPOTrainer(
        theirs,
        ref_model=copy.deepcopy(reference),
        args=trl.DPOConfig(
            output_dir=str(tmp_path / "trl"),
            per_device_train_batch_size=len(ROWS),
            max_steps=3,
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            weight_decay=0.01,
            adam_epsilon=1e-5,  # so that rounding cannot turn steps whose gradient is near zero
            max_grad_norm=1.0,
            beta=0.2,
            max_length=None,
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_list(ROWS),
        processing_class=tokenizer,
    )
    rows = list(oracle.train_dataset)  # TRL's own token ids, so that tokenisation is not what is compared
    oracle.train()
    steps = [line for line in oracle.state.log_history if "rewards/margins" in line]

    groups = [
        Group(f"p/{n}", tuple(row["prompt_ids"]), (tuple(row["chosen_ids"]), tuple(row["rejected_ids"])))
        for n, row in enumerate(rows)
    ]
    objective = Preference(
        groups,
        [Item(n, (0, 1)) for n in range(len(rows))],
        reference_logps(reference, groups, 500, compute, ctx),
        Dpo(beta=0.2),
    )
    settings = OptimSettings(
        learning_rate=1e-3,
        batch_size=len(ROWS),
        max_steps=3,
        warmup_ratio=0,
        min_lr_ratio=1,
        tokens_per_batch=150,
        eps=1e-5,
    )
    train(model, objective, settings, compute=compute, seed=0, workdir=tmp_path, ctx=ctx)

    mine = [json.loads(line) for line in (tmp_path / "train_log.jsonl").read_text().splitlines()]
    assert len(mine) == len(steps) == 3
    for ours, line in zip(mine, steps, strict=True):
        for name in (
            "loss",
            "grad_norm",
            "rewards/chosen",
            "rewards/rejected",
            "rewards/margins",
            "rewards/accuracies",
        ):
            assert ours[name] == pytest.approx(float(line[name]), rel=1e-4, abs=1e-5), name
        for name in ("logps/chosen", "logps/rejected"):
            assert ours[name] == pytest.approx(float(line[name]), rel=1e-5), name
    for name, parameter in theirs.named_parameters():
        assert torch.allclose(model.get_parameter(name), parameter, atol=1e-5), name
