from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selfstudy.evaluation.ledger import Stack, forward_flops, training_flops

DECODER = Stack(parameters=1000, layers=3, width=8)
ENCODER = Stack(parameters=700, layers=2, width=8)
lengths = st.lists(st.integers(0, 9), max_size=4)


def test_causal_worked() -> None:
    # A prompt of 2, completions of 1 and 3. Tokens: 6, 2 · 1000 each. Pairs: prompt 1 + 2; first 3; second 3 + 4 + 5.
    assert forward_flops(DECODER, 2, [1, 3]) == 2 * 1000 * 6 + 4 * 8 * 3 * (3 + 3 + 12)


def test_encoder_decoder_worked() -> None:
    # Encoder: 2 tokens, all 4 pairs. Decoder: 4 tokens, own pairs 1 and 1 + 2 + 3, across 2 for each of 4 tokens.
    encoder = 2 * 700 * 2 + 4 * 8 * 2 * 4
    decoder = 2 * 1000 * 4 + 4 * 8 * 3 * (1 + 6 + 8)
    assert forward_flops(DECODER, 2, [1, 3], ENCODER) == encoder + decoder


@given(st.integers(0, 9), lengths)
def test_causal_equals_counting_every_token(prompt: int, completions: list[int]) -> None:
    positions = list(range(prompt)) + [prompt + t for length in completions for t in range(length)]
    expected = sum(2 * 1000 + 4 * 8 * 3 * (position + 1) for position in positions)
    assert forward_flops(DECODER, prompt, completions) == expected
    assert training_flops(DECODER, prompt, completions) == 3 * expected


@given(st.integers(1, 9), lengths)
def test_a_shared_prompt_is_paid_for_once(prompt: int, completions: list[int]) -> None:
    for encoder in (None, ENCODER):
        alone = sum(forward_flops(DECODER, prompt, [length], encoder) for length in completions)
        saved = (len(completions) - 1) * forward_flops(DECODER, prompt, [], encoder)
        assert forward_flops(DECODER, prompt, completions, encoder) == alone - saved


def test_tokens_of_completions_alone_reach_the_output_layer() -> None:
    decoder = Stack(parameters=1000, layers=3, width=8, output=500)
    for encoder in (None, ENCODER):
        more = forward_flops(decoder, 2, [1, 3], encoder) - forward_flops(DECODER, 2, [1, 3], encoder)
        assert more == 2 * 500 * 4
