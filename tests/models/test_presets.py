"""Presets: published sizes, seeded weights, and a start from which AdamW learns."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from selfstudy.errors import ModelError
from selfstudy.judging.notation import ANGLE, BRACKET
from selfstudy.models.load import family
from selfstudy.models.presets import PRESETS, build, create, find_preset
from selfstudy.models.prompts import PromptSettings, encode_prompt, gold_completion
from selfstudy.models.tokenizers import train_tokenizer
from selfstudy.types import Problem
from tests.fakes import BRACKET_CORPUS, CORPUS

TOKENS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
TOKENIZERS = {
    "llama-tiny": train_tokenizer(CORPUS, "causal", 400),
    "t5-tiny": train_tokenizer(BRACKET_CORPUS, "seq2seq", 300),
}
tiny = pytest.mark.parametrize("name", sorted(TOKENIZERS))


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("tinyllama-1.1b", 1_100_048_384, 1_100_048_384),  # TinyLlama's checkpoint
        ("flan-t5-base", 247_577_856, 247_577_856),  # the checkpoints on the Hub
        ("flan-t5-large", 783_150_080, 783_150_080),
        ("llama-tiny", 500_000, 1_500_000),
        ("t5-tiny", 500_000, 1_500_000),
    ],
)
def test_parameter_counts(name, least, most):
    preset = PRESETS[name]
    with torch.device("meta"):
        model = build(preset, preset.vocab_size, TOKENS)
    assert least <= sum(p.numel() for p in model.parameters()) <= most
    assert family(model) == preset.family


@tiny
def test_the_seed_alone_decides(name):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = create(name, TOKENIZERS[name], seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(17)
    same, other = (create(name, TOKENIZERS[name], seed=seed).state_dict() for seed in (5, 6))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@tiny
def test_vocabulary_and_special_tokens_are_the_tokenizers(name):
    model = create(name, TOKENIZERS[name], seed=0)
    assert model.config.vocab_size == len(TOKENIZERS[name]) == model.get_output_embeddings().weight.shape[0]
    assert (model.config.pad_token_id, model.config.eos_token_id, model.config.bos_token_id) == (0, 1, None)
    assert not model.training


def batch(name):
    """Eight problems as padded tensors: model inputs and labels."""
    tokenizer, kind = TOKENIZERS[name], PRESETS[name].family
    notation = ANGLE if kind == "causal" else BRACKET
    rows = []
    for a in range(2, 10):
        problem = Problem(
            f"p/{a}", f"Tom has {a} apples and buys 7 more.", f"{a + 7}", f"{a}+7=<<{a}+7={a + 7}>>{a + 7}"
        )
        prompt = encode_prompt(problem, tokenizer, PromptSettings(), kind)
        rows.append((prompt, gold_completion(problem, tokenizer, notation, PromptSettings(), kind).token_ids))
    if kind == "seq2seq":
        inputs, labels = [list(p) for p, _ in rows], [list(c) for _, c in rows]
    else:
        inputs, labels = [[*p, *c] for p, c in rows], [[-100] * len(p) + list(c) for p, c in rows]
    filled = [
        torch.tensor([[*row, *[fill] * (max(map(len, s)) - len(row))] for row in s])
        for s, fill in ((inputs, 0), (labels, -100))
    ]
    return {"input_ids": filled[0], "attention_mask": (filled[0] != 0).long(), "labels": filled[1]}


@pytest.fixture
def one_thread():
    """Tensors this small only wait for one another on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@tiny
@pytest.mark.usefixtures("one_thread")
def test_learns_from_scratch(name):
    torch.manual_seed(0)
    model, data = create(name, TOKENIZERS[name], seed=1).train(), batch(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(100):
        loss = model(**data).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[0] == pytest.approx(math.log(model.config.vocab_size), abs=0.5)
    assert losses[-1] < 0.05
    output = model.eval()(**data).logits
    labels = data["labels"]
    if PRESETS[name].family == "causal":
        output, labels = output[:, :-1], labels[:, 1:]
    right = (output.argmax(-1) == labels)[labels != -100]
    assert right.float().mean() > 0.97


def test_heads_of_a_t5_look_at_different_distances_from_the_start():
    model = create("t5-tiny", TOKENIZERS["t5-tiny"], seed=1)
    for stack in (model.encoder, model.decoder):
        bias = stack.block[0].layer[0].SelfAttention.compute_bias(40, 40)[0]  # heads, queries, keys
        weights = bias[:, 20, : 21 if stack.is_decoder else 40].softmax(-1)
        distance = (torch.arange(weights.shape[1]) - 20).abs()
        means = (weights * distance).sum(-1)
        assert means[0] < 2 < 5 < means[-1]
        itself = weights[:, 20]
        assert (itself[:-1] < 1e-6).all() if stack.is_decoder else itself[0] > 0.5


def test_published_shapes_start_near_uniform():
    """A small T5 of the published kind, whose own initialisation would start at tens of nats."""
    preset = PRESETS["flan-t5-base"]
    shape = {**preset.shape, "num_layers": 2, "d_ff": 256}
    model = build(type(preset)("seq2seq", 500, shape), 500, TOKENS).eval()
    x = torch.randint(3, 500, (4, 12), generator=torch.Generator().manual_seed(0))
    logits = model(input_ids=x, decoder_input_ids=x).logits
    loss = F.cross_entropy(logits.flatten(0, 1), x.roll(-1, 1).flatten()).item()
    assert loss == pytest.approx(math.log(500), abs=0.4)
    model.tie_weights()
    assert model.lm_head.weight is not model.shared.weight


def test_unknown_preset():
    with pytest.raises(ModelError, match=r"no architecture preset 'lama-tiny'; did you mean 'llama-tiny'\?"):
        find_preset("lama-tiny")


def test_a_tokenizer_without_eos_is_refused():
    tokenizer = train_tokenizer(CORPUS, "causal", 300)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no EOS token"):
        create("llama-tiny", tokenizer, seed=0)
