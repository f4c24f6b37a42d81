"""Memory while samples are drawn: how many rows it is given, and what happens where it runs out."""

from __future__ import annotations

import pytest

from selfstudy.errors import ModelError
from selfstudy.generation.decoder import Decoder
from tests.generation.conftest import LENGTHS, Bar, make_engine, make_model, make_requests, plain


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("[enforce fail] can't allocate memory: 8 bytes")])
def test_memory_that_runs_out_is_halved_and_nothing_is_drawn_twice(some_model, tokenizer, monkeypatch, fault):
    requests = make_requests(LENGTHS[:6], samples=3)
    settings = {"temperature": 1.0, "max_new_tokens": 12, "max_batch_tokens": 16 * 31}
    expected = make_engine(some_model, tokenizer, **settings).generate(requests)
    step, calls = Decoder.step, []

    def fail(self, rows):
        calls.append(len(rows))
        if len(calls) == 14 or (len(calls) > 14 and len(rows) > 6):
            raise fault
        return step(self, rows)

    monkeypatch.setattr(Decoder, "step", fail)
    engine = make_engine(some_model, tokenizer, **settings)
    bar = Bar()
    assert plain(engine.generate(requests, bar)) == plain(expected)
    assert bar.seen == 18
    assert engine.halved >= 2
    assert max(calls) > 6 >= max(calls[-10:])
    monkeypatch.setattr(Decoder, "step", lambda self, rows: (_ for _ in ()).throw(fault))
    with pytest.raises(ModelError, match=r"p0, p1, p2, .*memory ran out with a single row"):
        engine.generate(requests)
    other = RuntimeError("something else")
    monkeypatch.setattr(Decoder, "step", lambda self, rows: (_ for _ in ()).throw(other))
    with pytest.raises(RuntimeError, match="something else"):
        engine.generate(requests)


def test_memory_that_runs_out_in_a_prompt_loses_no_progress(tokenizer, monkeypatch):
    requests = make_requests(LENGTHS, samples=3)
    settings = {"temperature": 1.0, "max_new_tokens": 12, "max_batch_tokens": 8 * 31}
    expected = make_engine(make_model("llama"), tokenizer, **settings).generate(requests)
    load, calls = Decoder.load, []

    def fail(self, prompts, slots):
        calls.append(len(prompts))
        if len(calls) == 3:
            raise MemoryError
        return load(self, prompts, slots)

    monkeypatch.setattr(Decoder, "load", fail)
    engine, bar = make_engine(make_model("llama"), tokenizer, **settings), Bar()
    assert plain(engine.generate(requests, bar)) == plain(expected)
    assert bar.seen == 3 * len(LENGTHS)
    assert engine.halved == 1


def test_rows_that_are_in_use_are_halved(tokenizer, monkeypatch):
    """Eight samples, room for four: once, however many rows the settings allow."""
    step = Decoder.step

    def fail(self, rows):
        if len(rows) > 4:
            raise MemoryError
        return step(self, rows)

    monkeypatch.setattr(Decoder, "step", fail)
    engine = make_engine(make_model("llama"), tokenizer, max_new_tokens=5)
    assert len(engine.generate(make_requests([4, 6], samples=4))) == 8
    assert engine.halved == 1


def test_rows_follow_from_settings_and_model(tokenizer):
    causal, seq2seq = make_model("llama"), make_model("t5")
    requests = make_requests([10, 30])
    # At most, which is while all prompts are short.
    assert make_engine(causal, tokenizer, max_new_tokens=20, max_batch_tokens=499).rows(requests) == 499 // 30
    assert make_engine(seq2seq, tokenizer, max_new_tokens=20, max_batch_tokens=499).rows(requests) == 499 // 30
    assert make_engine(causal, tokenizer, max_new_tokens=20).rows(requests) == 256
    # Keys and values of 2 layers × 2 heads × 8 numbers × 4 bytes, twice: 2²¹ of such tokens are 1 GiB.
    assert make_engine(causal, tokenizer, max_new_tokens=2**17).rows(requests) == 2**21 * 2 // (2**17 + 10)
