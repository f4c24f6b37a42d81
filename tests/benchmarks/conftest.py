"""Models of both families that have learnt one kind of solution, in seconds: they annotate, and they end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from selfstudy.models.format import FormatSettings, bind, tokenizer_text
from selfstudy.models.load import save_model
from selfstudy.models.presets import Preset, build
from selfstudy.models.tokenizers import train_tokenizer
from selfstudy.types import Problem

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # scripts, not a package


def problem(a: int, b: int) -> Problem:
    solution = f"He has {a} + {b} = <<{a}+{b}={a + b}>>{a + b} of them.\nTwice is 2*{b}=<<2*{b}={2 * b}>>{2 * b}."
    question = f"Tom has {a} nuts{', really' * (a % 4)} and gets {b}. How many?"
    return Problem(f"toy/{a}/{b}", question, str(a + b), solution)


PROBLEMS = [problem(a, b) for a in range(1, 100, 7) for b in range(2, 60, 5)]


@pytest.fixture(scope="session", params=["causal", "seq2seq"])
def trained(request, tmp_path_factory):
    """Return the folder of a model of one family."""
    family = request.param
    folder = tmp_path_factory.mktemp(family) / "model"
    texts = (tokenizer_text(problem, FormatSettings(), family) for problem in PROBLEMS)
    tokenizer = train_tokenizer(texts, family, 500)
    form = bind(FormatSettings(), tokenizer, family)
    torch.manual_seed(0)
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    model = build(Preset(family, len(tokenizer), _SHAPES[family]), len(tokenizer), tokens)
    _teach(model, form, 120 if family == "causal" else 200)
    save_model(model, tokenizer, folder, {})
    form.save(folder)
    return folder


_SHAPES = {
    "causal": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"num_key_value_heads": 2},
    # Untied, as T5 v1.1 and Flan-T5 are.
    "seq2seq": {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
    | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}


def _teach(model, form, steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    pairs = [(list(form.prompt_ids(problem)), list(form.gold(problem).token_ids)) for problem in PROBLEMS]
    for step in range(steps):
        batch = [pairs[(step * 16 + i) % len(pairs)] for i in range(16)]
        if form.family == "causal":
            rows = [prompt + completion for prompt, completion in batch]
            labels = [[-100] * len(prompt) + completion for prompt, completion in batch]
            loss = model(input_ids=_padded(rows, 0), labels=_padded(labels, -100)).loss
        else:
            prompts = [prompt for prompt, _ in batch]
            inputs, mask = _padded(prompts, 0), _padded([[1] * len(prompt) for prompt in prompts], 0)
            loss = model(input_ids=inputs, attention_mask=mask, labels=_padded([gold for _, gold in batch], -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def _padded(rows, fill):
    width = max(map(len, rows))
    return torch.stack([F.pad(torch.tensor(row), (0, width - len(row)), value=fill) for row in rows])
