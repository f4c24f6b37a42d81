from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LEDConfig,
    LEDForConditionalGeneration,
    Llama4ForCausalLM,
    Llama4TextConfig,
    MarianConfig,
    MarianMTModel,
    MistralConfig,
    MistralForCausalLM,
    PegasusConfig,
    PegasusForConditionalGeneration,
)

from selfstudy.errors import ConfigError, ModelError
from selfstudy.learning import logprobs as module
from selfstudy.learning.logprobs import autocast, check_logprobs, check_rows, logprobs
from selfstudy.models.attention import flat_attention
from selfstudy.models.compute import Compute
from selfstudy.models.plain import decoder_start, plain_logprobs
from selfstudy.types import Group
from tests.fakes import tiny_t5
from tests.learning.conftest import VOCAB, make_model, random_groups

GROUPS = random_groups(4, 3)


def others():
    size = {"vocab_size": VOCAB, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    yield MistralForCausalLM(MistralConfig(**size, **layers, num_key_value_heads=2, sliding_window=4))
    yield Gemma2ForCausalLM(
        Gemma2Config(**size, **layers, num_key_value_heads=2, head_dim=8, sliding_window=4, final_logit_softcapping=2.0)
    )
    yield GPT2LMHeadModel(GPT2Config(**size, n_embd=32, n_layer=2, n_head=4))
    yield BartForConditionalGeneration(
        BartConfig(
            **size,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            decoder_start_token_id=1,
            forced_eos_token_id=None,
        )
    )
    seq2seq = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    seq2seq |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "decoder_start_token_id": 1}
    for config, kind in ((PegasusConfig, PegasusForConditionalGeneration), (MarianConfig, MarianMTModel)):
        yield kind(config(**size, **seq2seq, forced_eos_token_id=None))  # positions without BART's offset
    yield CohereForCausalLM(CohereConfig(**size, **layers, num_key_value_heads=2, logit_scale=0.3))
    yield GraniteForCausalLM(GraniteConfig(**size, **layers, num_key_value_heads=2, logits_scaling=3.0))
    yield tiny_t5(VOCAB, tie_word_embeddings=True, scale_decoder_outputs=True)
    yield tiny_t5(VOCAB, feed_forward_proj="gated-gelu", tie_word_embeddings=False)


def alone(model, groups):
    return [plain_logprobs(model, group.prompt_ids, c) for group in groups for c in group.completions]


def test_ragged_groups_equal_single_ones(model):
    result = logprobs(model, GROUPS)
    single = alone(model, GROUPS)
    assert result.logps.dtype == torch.float32
    assert torch.allclose(result.logps, torch.cat(single), atol=2e-5)
    assert torch.allclose(result.sums(), torch.stack([logps.sum() for logps in single]), atol=1e-4)
    assert result.lengths.tolist() == [len(logps) for logps in single]
    assert torch.equal(result.owner, torch.arange(12).repeat_interleave(result.lengths))
    assert result.logps.std() > 0.5  # the models are not uniform, so the comparison means something


def test_what_is_not_counted_is_left_out_of_sums_and_lengths(model):
    whole = logprobs(model, GROUPS)
    uncounted = tuple(
        ((0, len(completion) // 2),) if len(completion) > 1 else () for completion in GROUPS[1].completions
    )
    part = logprobs(model, [GROUPS[0], replace(GROUPS[1], uncounted=uncounted), *GROUPS[2:]])
    first = sum(map(len, GROUPS[0].completions))
    kept = torch.ones(len(whole.logps))
    for completion in GROUPS[1].completions:
        kept[first : first + len(completion) // 2] = 0
        first += len(completion)
    assert torch.equal(part.logps, whole.logps * kept)
    assert part.lengths[3:6].tolist() == [len(c) - len(c) // 2 for c in GROUPS[1].completions]
    assert torch.equal(part.lengths[6:], whole.lengths[6:])


def test_gradients_of_ragged_groups_equal_single_ones(model):
    (logprobs(model, GROUPS).sums() ** 2).sum().backward()
    together = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    torch.stack([logps.sum() ** 2 for logps in alone(model, GROUPS)]).sum().backward()
    for mine, theirs in zip(together, model.parameters(), strict=True):
        assert torch.allclose(mine, theirs.grad, rtol=1e-3, atol=1e-4 * theirs.grad.abs().max().item() + 1e-6)


def test_bfloat16_autocast_is_near_and_gives_float32(model):
    with autocast(Compute(device="cpu", dtype="bfloat16")):
        narrow = logprobs(model, GROUPS)
    wide = logprobs(model, GROUPS)
    assert narrow.logps.dtype == torch.float32
    assert not torch.equal(narrow.logps, wide.logps)
    assert (narrow.logps - wide.logps).abs().mean() < 0.15


def test_float16_is_refused():
    with pytest.raises(ConfigError, match=r"compute: dtype: .*65,504, which T5's activations exceed.*use bfloat16"):
        Compute.parse({"dtype": "float16"}, "compute")


def test_only_completion_positions_reach_the_output_layer(model):
    seen = []
    handle = model.get_output_embeddings().register_forward_hook(lambda _, args, out: seen.append(tuple(out.shape)))
    result = logprobs(model, GROUPS)
    handle.remove()
    assert seen == [(1, len(result.logps), VOCAB)]
    assert not model.get_output_embeddings()._forward_pre_hooks


@pytest.mark.parametrize(
    "model", [*others(), make_model("causal"), make_model("seq2seq")], ids=lambda m: type(m).__name__
)
def test_a_large_vocabulary_takes_chunks(model):
    """The same log-probabilities and gradients; the output layer never sees more than a chunk."""
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.normal_()
    model.eval()
    whole = logprobs(model, GROUPS)
    (whole.sums() ** 2).sum().backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}  # fixed positions do not
    model.zero_grad()
    seen = []
    handle = model.get_output_embeddings().register_forward_hook(lambda _, args, out: seen.append(out.shape[-2]))
    chunked = logprobs(model, GROUPS, chunk=10)
    assert max(seen) == 10
    (chunked.sums() ** 2).sum().backward()
    handle.remove()
    assert sum(seen) == 1 + 2 * len(whole.logps)  # the model's own, and the chunks in both passes
    torch.testing.assert_close(chunked.logps, whole.logps, rtol=0, atol=1e-5)
    for name, gradient in wanted.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient, rtol=1e-3, atol=1e-4)


def test_chunks_follow_from_the_vocabulary(model, monkeypatch):
    monkeypatch.setattr("selfstudy.learning.logprobs._LOGITS", 7 * VOCAB + 1)
    seen = []
    model.get_output_embeddings().register_forward_hook(lambda _, args, out: seen.append(out.shape[-2]))
    with torch.no_grad():
        logprobs(model, GROUPS)
    assert max(seen) == 7


def test_hook_is_removed_when_the_forward_fails(model):
    with pytest.raises((IndexError, RuntimeError)):
        logprobs(model, [replace(GROUPS[0], prompt_ids=(VOCAB + 5,))])
    assert not model.get_output_embeddings()._forward_pre_hooks


def test_seq2seq_runs_the_encoder_once_for_each_prompt():
    model, rows = make_model("seq2seq"), []
    model.get_encoder().register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(kwargs["input_ids"].tolist()), with_kwargs=True
    )
    logprobs(model, GROUPS)
    assert rows == [[[token for group in GROUPS for token in group.prompt_ids]]]


@pytest.mark.parametrize("model", others(), ids=lambda model: type(model).__name__)
def test_other_architectures_pass_the_probe(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # fresh weights give nearly uniform logits, which would compare equal anyhow
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.normal_()
    check_logprobs(model.train())
    assert model.training


class SeesTheBatch(torch.nn.Module):
    """Stands for an architecture whose rows influence each other."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.weight = layer, layer.weight

    def forward(self, hidden):
        return self.layer(hidden + hidden.mean(dim=(0, 1)))


def test_probe_names_an_architecture_that_does_not_fit(model):
    model.set_output_embeddings(SeesTheBatch(model.get_output_embeddings()))
    with pytest.raises(ModelError, match=type(model).__name__):
        check_logprobs(model)


def test_probe_names_an_architecture_whose_logits_are_changed_behind_the_layer(model):
    forward = model.forward

    def scaled(*args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits = out.logits * 0.5
        return out

    model.forward = scaled
    with pytest.raises(ModelError, match=type(model).__name__):
        check_logprobs(model)


def test_probe_names_an_architecture_that_fails():
    size = {"vocab_size": VOCAB, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64}
    size |= {"decoder_ffn_dim": 64, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "attention_window": 8}
    model = LEDForConditionalGeneration(LEDConfig(**size, decoder_start_token_id=2))
    with pytest.raises(ModelError, match="LEDForConditionalGeneration: a flat list of tokens makes it fail"):
        check_logprobs(model)


def test_memory_that_runs_out_in_the_probe_is_no_fault_of_the_architecture(model, monkeypatch):
    def starve(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "logprobs", starve)
    with pytest.raises(torch.OutOfMemoryError):
        check_logprobs(model)


def rows(length):
    return [Group("short", (5,), ((6,),)), Group("long", (5,) * (length - 4), ((6, 7), (6, 7, 8, 9)))]


def test_rows_beyond_the_positions_are_refused_by_id():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64))
    check_rows(model, rows(64), check_logprobs(model))
    with pytest.raises(
        ModelError,
        match=r"long \(65\): rows of that many tokens exceed the 64 positions of GPT2LMHeadModel; lower max_pr",
    ):
        check_rows(model, rows(65), check_logprobs(model))


def test_frequencies_that_change_with_the_longest_row_are_refused():
    """In a batch with a long row the short ones would change, too."""
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 32}
    model = make_model("causal", max_position_embeddings=64, rope_parameters=rope)
    check_rows(model, rows(32), check_logprobs(model))
    with pytest.raises(ModelError, match="exceed 32, where its rotary frequencies change"):
        check_rows(model, rows(33), check_logprobs(model))


def test_windows_that_are_passed_on_are_no_limit():
    size = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    size |= {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 20}
    model = MistralForCausalLM(MistralConfig(**size))
    windowed = check_logprobs(model)
    assert windowed
    assert not check_logprobs(make_model("causal"))
    check_rows(model, rows(40), windowed)
    with pytest.raises(ModelError, match="exceed sliding_window=20, which its attention is not told of"):
        check_rows(model, rows(40), False)


def test_chunks_of_attention_are_a_limit_where_layers_have_them():
    size = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "intermediate_size_mlp": 64, "head_dim": 8}
    size |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 2}
    chunked = Llama4ForCausalLM(Llama4TextConfig(**size, attention_chunk_size=16))
    check_rows(chunked, rows(16), False)
    with pytest.raises(ModelError, match="exceed attention_chunk_size=16, which its attention is not told of"):
        check_rows(chunked, rows(17), False)
    chunked.config.layer_types = ["full_attention"] * 2
    check_rows(chunked, rows(17), False)  # none of its layers is of that kind


def test_sinks_are_refused(model):
    """A layer that hands them over has them in its softmax, which the ragged one would leave out."""
    step, layer = object(), torch.nn.Linear(1, 1)
    with pytest.raises(ModelError, match="Linear: masks or sinks of its own"):
        flat_attention(layer, *[torch.zeros(1, 1, 1, 1)] * 3, None, step=step, s_aux=torch.zeros(1))


def test_missing_decoder_start_is_named():
    model = make_model("seq2seq")
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = None
    with pytest.raises(ModelError, match="decoder_start_token_id"):
        decoder_start(model)
