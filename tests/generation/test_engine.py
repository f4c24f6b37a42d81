"""Greedy decoding against ``generate``, and rows against one another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, zip_longest

import pytest
import torch
from transformers import (
    PreTrainedModel,
)

from selfstudy.generation.decoder import Decoder
from selfstudy.generation.engine import Request
from selfstudy.generation.hooks import Forced
from selfstudy.models.plain import plain_logprobs
from tests.fakes import tiny_llama, tiny_t5
from tests.generation.conftest import LENGTHS, VOCABULARY, Bar, Scribe, make_engine, make_model, make_requests, plain


def generated(model: PreTrainedModel, prompt: tuple[int, ...], limit: int) -> list[int]:
    ids = torch.tensor([prompt])
    model.generation_config.pad_token_id = 0
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False, eos_token_id=1
    )[0].tolist()
    return out[1:] if model.config.is_encoder_decoder else out[len(prompt) :]


def assert_same_but_for_ties(
    model: PreTrainedModel, prompt: tuple[int, ...], drawn: Sequence[int], expected: Sequence[int]
) -> None:
    """Where completions part, the two most likely tokens must be as good as equally likely."""
    if list(drawn) != list(expected):
        parted = next(i for i, (a, b) in enumerate(zip_longest(drawn, expected)) if a != b)
        best, second = logits_of(model, prompt, expected)[parted].topk(2).values.tolist()
        assert best - second < 1e-4, (parted, drawn, expected)


def test_greedy_equals_generate_on_ragged_prompts_with_refill(model, tokenizer):
    requests = make_requests(LENGTHS)
    samples = make_engine(model, tokenizer, temperature=0, max_new_tokens=24, max_batch_tokens=4 * 44).generate(
        requests
    )
    for request, sample in zip(requests, samples, strict=True):
        expected = generated(model, request.prompt_ids, 24)
        assert_same_but_for_ties(model, request.prompt_ids, sample.completion.token_ids, expected)
    assert len({token for s in samples for token in s.completion.token_ids}) >= 20


def test_greedy_equals_generate_where_rows_of_all_lengths_stand_side_by_side(some_model, tokenizer):
    """More rows than a band holds, ended early by many stop tokens, sorted and moved on the way."""
    requests = make_requests([3 + 5 * i % 23 for i in range(70)])
    was, stop = some_model.generation_config.eos_token_id, [1, *range(2, 12)]
    try:
        some_model.generation_config.eos_token_id = stop
        engine = make_engine(some_model, tokenizer, temperature=0, max_new_tokens=90, max_batch_tokens=40 * 115)
        samples = engine.generate(requests)
        ids = [torch.tensor([r.prompt_ids]) for r in requests]
        some_model.generation_config.pad_token_id = 0
        expected = [
            some_model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=90,
                do_sample=False,
                eos_token_id=stop,
            )[0].tolist()
            for prompt in ids
        ]
    finally:
        some_model.generation_config.eos_token_id = was
    skip = [1 if some_model.config.is_encoder_decoder else len(r.prompt_ids) for r in requests]
    for request, sample, tokens, n in zip(requests, samples, expected, skip, strict=True):
        assert_same_but_for_ties(some_model, request.prompt_ids, sample.completion.token_ids, tokens[n:])
    lengths = sorted(len(s.completion.token_ids) for s in samples)
    assert lengths[5] < 20
    assert lengths[-5] > 40


def test_rows_do_not_depend_on_their_batch(some_model, tokenizer):
    requests = make_requests(LENGTHS[:6], samples=3)
    settings = {"temperature": 1.3, "max_new_tokens": 20}
    together = make_engine(some_model, tokenizer, **settings).generate(requests)
    refilled = make_engine(some_model, tokenizer, **settings, max_batch_tokens=5 * 40).generate(requests)
    engine = make_engine(some_model, tokenizer, **settings)
    alone = [
        sample
        for request in requests
        for index in request.indices
        for sample in engine.generate([Request(request.problem_id, request.prompt_ids, range(index, index + 1))])
    ]
    assert plain(together) == plain(refilled) == plain(alone)
    for first, second in zip(together, alone, strict=True):
        assert first.logprob == pytest.approx(second.logprob, abs=1e-3)
    assert len({s.completion.token_ids for s in together}) == 18  # samples of a problem differ
    assert {s.completion.finish for s in together} <= {"stop", "length"}


def test_order_of_requests_does_not_matter(some_model, tokenizer):
    requests = make_requests(LENGTHS, samples=2)
    engine = make_engine(some_model, tokenizer, temperature=1.0, max_new_tokens=12, max_batch_tokens=5 * 31)
    forwards, backwards = engine.generate(requests), engine.generate(requests[::-1])
    assert sorted(plain(forwards)) == sorted(plain(backwards))
    assert [s.problem_id for s in backwards] == [f"p{i}" for i in range(8, -1, -1) for _ in range(2)]


def test_seed_purpose_and_round_change_the_draws(tokenizer):
    model = make_model("llama")
    requests = make_requests([4], samples=2)
    first = make_engine(model, tokenizer, temperature=1.0, max_new_tokens=12).generate(requests)
    again = make_engine(model, tokenizer, temperature=1.0, max_new_tokens=12).generate(requests)
    assert first == again
    for key in ({"seed": 1}, {"purpose": "other"}, {"round": 1}):
        other = make_engine(model, tokenizer, temperature=1.0, max_new_tokens=12, **key).generate(requests)
        assert plain(first) != plain(other)


@pytest.mark.parametrize(("samples", "rows"), [(1, 4), (3, 27)], ids=["refilled", "siblings in bands"])
def test_chunks_are_computed_as_if_drawn(model, tokenizer, samples, rows):
    """What follows a chunk is the greedy continuation of all the text before it; forced spans are where they belong."""
    requests = make_requests(LENGTHS, samples)
    engine = make_engine(model, tokenizer, temperature=0, max_new_tokens=24, max_batch_tokens=rows * 44)
    said = sorted({token for s in engine.generate(requests) for token in s.completion.token_ids[:12]} - {1})
    table = {token: Forced((7, 8, 9, 10), replace_last=i % 4 == 0) for i, token in enumerate(said) if i % 2 == 0}
    engine._hook = Scribe(table)
    chunks = 0
    asked = [request for request in requests for _ in request.indices]
    for request, sample in zip(asked, engine.generate(requests), strict=True):
        tokens, spans = sample.completion.token_ids, sample.completion.forced
        assert all(start < stop for start, stop in spans)
        assert all(a[1] < b[0] for a, b in pairwise(spans))
        forced = {position for start, stop in spans for position in range(start, stop)}
        chunks += len(spans)
        greedy = continuations(model, request.prompt_ids, tokens)
        for position, token in enumerate(tokens):
            if position in forced:
                continue
            if token != greedy[position]:
                logits = logits_of(model, request.prompt_ids, tokens)[position]
                assert logits.max() - logits[token] < 1e-4
            assert token not in table or position == len(tokens) - 1 or position + 1 in forced
        drawn = [p for p in range(len(tokens)) if p not in forced]
        logps = plain_logprobs(model, request.prompt_ids, tokens)
        assert sample.logprob == pytest.approx(logps[drawn].sum().item(), abs=2e-3)
        assert len(tokens) <= 24
    assert chunks >= 5


def test_prompts_are_computed_once_and_forced_tokens_take_neither_step_nor_logits(some_model, tokenizer, monkeypatch):
    requests = make_requests(LENGTHS, 3)
    engine = make_engine(some_model, tokenizer, temperature=0, max_new_tokens=24, max_batch_tokens=7 * 44)
    engine._hook = Scribe({token: Forced((7, 8, 9, 10), replace_last=False) for token in range(20, VOCABULARY, 7)})
    loaded: list[tuple[int, ...]] = []
    drawn = 0
    load, step = Decoder.load, Decoder.step

    def noting(self, prompts, slots):
        loaded.extend(map(tuple, prompts))
        load(self, prompts, slots)

    def counting(self, rows):
        nonlocal drawn
        drawn += len(rows)
        logits = step(self, rows)
        assert len(logits) == len(rows)
        return logits

    monkeypatch.setattr(Decoder, "load", noting)
    monkeypatch.setattr(Decoder, "step", counting)
    samples = engine.generate(requests)
    assert sorted(loaded) == sorted(request.prompt_ids for request in requests)
    forced = [stop - start for sample in samples for start, stop in sample.completion.forced]
    assert sum(forced) > 20
    assert drawn == sum(len(sample.completion.token_ids) for sample in samples) - sum(forced)


def continuations(model: PreTrainedModel, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> list[int]:
    """Return the most likely token at each position of a completion."""
    return logits_of(model, prompt, tokens).argmax(-1).tolist()


@torch.no_grad()
def logits_of(model: PreTrainedModel, prompt: tuple[int, ...], tokens: Sequence[int]) -> torch.Tensor:
    """Return (T, V) logits for each token of a completion."""
    if model.config.is_encoder_decoder:
        decoder_inputs = torch.tensor([[0, *tokens[:-1]]])
        logits: torch.Tensor = model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder_inputs).logits[0]
    else:
        logits = model(input_ids=torch.tensor([[*prompt, *tokens[:-1]]])).logits[0, len(prompt) - 1 :]
    return logits


def test_logprob_is_untempered_over_drawn_tokens(some_model, tokenizer):
    requests = make_requests(LENGTHS[:3], samples=2)
    samples = make_engine(some_model, tokenizer, temperature=0.5, top_k=20, max_new_tokens=16).generate(requests)
    by_id = {r.problem_id: r for r in requests}
    for sample in samples:
        logps = plain_logprobs(some_model, by_id[sample.problem_id].prompt_ids, sample.completion.token_ids)
        assert sample.logprob == pytest.approx(logps.sum().item(), abs=1e-3)


def test_forced_tokens_are_cut_at_the_limit(tokenizer):
    engine = make_engine(make_model("llama"), tokenizer, temperature=0, max_new_tokens=6)
    engine._hook = Scribe({token: Forced((7, 8, 9, 10)) for token in range(2, VOCABULARY)})
    (sample,) = engine.generate(make_requests([4]))
    drawn = sample.completion.token_ids[0]
    assert sample.completion.token_ids[1:5] == (7, 8, 9, 10)
    assert (len(sample.completion.token_ids), sample.completion.forced) == (6, ((1, 5),))
    assert sample.completion.finish == "length"
    assert drawn not in (7, 8, 9, 10)


def test_every_eos_token_ends_a_completion(tokenizer):
    model = make_model("llama")
    (free,) = make_engine(model, tokenizer, temperature=0, max_new_tokens=10).generate(make_requests([4]))
    stop = free.completion.token_ids[5]
    cut = free.completion.token_ids.index(stop) + 1
    model.generation_config.eos_token_id = [1, stop]
    (ended,) = make_engine(model, tokenizer, temperature=0, max_new_tokens=10).generate(make_requests([4]))
    assert ended.completion.token_ids == free.completion.token_ids[:cut]
    assert ended.completion.finish == "stop"


def test_samples_that_are_added_later_are_the_same(tokenizer):
    model = make_model("llama")
    engine = make_engine(model, tokenizer, temperature=1.0, max_new_tokens=10)
    (request,) = make_requests([4], samples=4)
    later = Request(request.problem_id, request.prompt_ids, range(2, 4))
    assert plain(engine.generate([request]))[2:] == plain(engine.generate([later]))


def test_nothing_asked_nothing_drawn(tokenizer):
    engine = make_engine(make_model("llama"), tokenizer)
    assert engine.generate([]) == []
    assert engine.generate(make_requests([4], samples=0)) == []


@pytest.mark.parametrize("make", [tiny_llama, tiny_t5])
def test_the_model_is_left_as_it_was(make, tokenizer):
    model = make(VOCABULARY).train()
    model.get_output_embeddings().eval()
    part = model.get_decoder()
    before = part.config._attn_implementation
    engine = make_engine(model, tokenizer, max_new_tokens=4)
    engine.generate(make_requests([4, 6]))
    assert part.config._attn_implementation == before
    assert model.training
    assert not model.get_output_embeddings().training
    assert not model.get_output_embeddings()._forward_pre_hooks
    model(input_ids=torch.tensor([[5, 6]]), labels=torch.tensor([[5, 6]])).loss.backward()


def test_bfloat16(some_model, tokenizer):
    """It rounds as often as a plain forward pass does, but elsewhere: both are as far from what float32 gives."""
    name = "t5" if some_model.config.is_encoder_decoder else "mistral"
    requests = make_requests(LENGTHS, samples=4)
    narrow, wide = make_model(name).to(torch.bfloat16), make_model(name)
    samples = make_engine(narrow, tokenizer, temperature=1.0, max_new_tokens=8).generate(requests)
    prompts = {request.problem_id: request.prompt_ids for request in requests}
    drawn = [(prompts[sample.problem_id], sample.completion.token_ids) for sample in samples]
    ours = torch.tensor([sample.logprob for sample in samples])
    plain, exact = (torch.stack([plain_logprobs(m, *pair).sum() for pair in drawn]) for m in (narrow, wide))
    assert 0 < (ours - exact).abs().mean() < 2 * (plain - exact).abs().mean()


def test_progress_counts_samples(tokenizer):
    bar = Bar()
    engine = make_engine(make_model("llama"), tokenizer, max_new_tokens=5)
    engine.generate(make_requests([4, 6, 2], samples=3), bar)
    assert bar.seen == 9
