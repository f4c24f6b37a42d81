"""The calculator on its own, with every kind of tokenizer, and inside the engine with a model that follows a script."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from selfstudy.generation.hooks import load_hook
from selfstudy.generation.hooks.calculator import BoundCalculator, Calculator
from selfstudy.generation.rows import Row
from selfstudy.judging.expressions import MAX_DIGITS, calculate
from selfstudy.judging.notation import ANGLE, BRACKET
from selfstudy.models.prompts import decode_completion
from selfstudy.models.tokenizers import train_tokenizer
from selfstudy.plugins import parse_spec
from tests.fakes import BRACKET_CORPUS, byte_tokenizer, llama_tokenizer
from tests.generation.conftest import make_engine, scripted_model
from tests.generation.conftest import make_requests as _requests
from tests.models.test_vocabulary import wordpiece_tokenizer

ODD = ["=8", ">>5", AddedToken("+ 3=", normalized=False), "=9>>", " = 4", "2 ="]


def with_odd_tokens(tokenizer):
    tokenizer.add_tokens(ODD)
    return tokenizer


def metaspace_tokenizer():
    return train_tokenizer(BRACKET_CORPUS, "seq2seq", 300)


TOKENIZERS = {
    "byte": (byte_tokenizer, ANGLE),
    "byte_bracket": (byte_tokenizer, BRACKET),
    "byte_unsplit": (lambda: byte_tokenizer(500, split_digits=False), ANGLE),
    "byte_odd": (lambda: with_odd_tokens(byte_tokenizer()), ANGLE),
    "llama": (llama_tokenizer, ANGLE),
    "llama_new": (lambda: llama_tokenizer(legacy=False), ANGLE),
    "metaspace": (metaspace_tokenizer, BRACKET),
    "metaspace_odd": (lambda: with_odd_tokens(metaspace_tokenizer()), BRACKET),
    "wordpiece": (wordpiece_tokenizer, BRACKET),
}


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def case(request):
    make, notation = TOKENIZERS[request.param]
    tokenizer = make()
    return tokenizer, notation, Calculator().bind(tokenizer, notation)


def write(bound, ids, *, limit=10_000) -> Row:
    """Let a model that says ``ids`` whatever happens be corrected: as the engine does, without an engine."""
    row = Row(0, 0, 0, 0, 0, [0], bound.start())
    for token in ids:
        row.accept(token, -1.0, (), limit)
        if row.forced:
            break  # what it would have said next, it might not say now
    return row


def say(text, tokenizer):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


@pytest.mark.parametrize("expression", ["3+4", "12*0.5-1/4", "(30+68)*9", "10/3", "4-9", "1000*1000", ".5+.5"])
def test_the_decoded_text_is_exactly_the_annotation(case, expression):
    tokenizer, notation, bound = case
    text = f"So {notation.opening}{expression}{notation.equals}"
    for said in (text, text.rstrip()):
        row = write(bound, say(said, tokenizer))
        wanted = "So " + notation.annotate(expression, calculate(expression))
        assert decode_completion(row.tokens, tokenizer) == wanted
        ((start, stop),) = row.forced
        assert stop == len(row.tokens)
        assert wanted.endswith(decode_completion(row.tokens[start:], tokenizer))


def test_several_in_a_row_leave_the_text_between_them_alone(case):
    tokenizer, notation, bound = case
    row = Row(0, 0, 0, 0, 0, [0], bound.start())
    wanted = ""
    for a, b in ((3, 4), (15, 27), (8, 8)):
        ids = say(f"so {a} apples and {b} {notation.opening}{a}+{b}{notation.equals.rstrip()}", tokenizer)
        for token in ids:
            row.accept(token, 0.0, (), 10_000)
        space = " " if notation is BRACKET else ""
        wanted += b"".join(bound.texts[i] for i in ids).decode() + f"{space}{a + b}{notation.closing}"
    assert decode_completion(row.tokens, tokenizer) == wanted.removeprefix(" ")
    assert len(row.forced) == 3
    assert row.hook.counts == {"annotations": 3, "evaluated": 3}


def test_what_it_cannot_evaluate_is_left_and_counted(case):
    tokenizer, notation, bound = case
    left = 0
    for expression in ("3/0", "three", "3++", ""):
        ids = say(f"So {notation.opening}{expression}{notation.equals}7{notation.closing}", tokenizer)
        row = write(bound, ids)
        assert (row.tokens, row.forced) == (ids, [])
        assert row.hook.counts["evaluated"] == 0
        assert row.hook.counts["left"] == row.hook.counts["annotations"]
        left += row.hook.counts["left"]
    assert left >= 3  # "[  = 7 ]" is none where two spaces become one


def test_text_that_is_no_annotation_is_left(case):
    tokenizer, notation, bound = case
    opening, closing, equals = notation.opening, notation.closing, notation.equals
    for text in (
        f"So 3+4{equals}7 apples.",
        f"So {opening}3+4{closing} is 3+4{equals}7",
        f"So {opening}3+4 and then {'more and ' * 30}{equals}",
    ):
        ids = say(text, tokenizer)
        row = write(bound, ids)
        assert row.tokens == ids
        assert not row.hook.counts


def test_a_newline_ends_what_was_open():
    tokenizer = byte_tokenizer()
    bound = Calculator().bind(tokenizer, ANGLE)
    assert write(bound, say("So <<3+\n4=", tokenizer)).forced == []


def test_the_last_opening_marker_counts():
    tokenizer = byte_tokenizer()
    row = write(Calculator().bind(tokenizer, ANGLE), say("So <<3+ <<1+1=", tokenizer))
    assert decode_completion(row.tokens, tokenizer) == "So <<3+ <<1+1=2>>"


def test_decimals_are_a_setting():
    tokenizer = byte_tokenizer()
    bound = load_hook(parse_spec("selfstudy.generation.hooks", {"name": "calculator", "decimals": 4})).bind(
        tokenizer, ANGLE
    )
    assert decode_completion(write(bound, say("<<1/3=", tokenizer)).tokens, tokenizer) == "<<1/3=0.3333>>"


@pytest.fixture(scope="module")
def odd():
    tokenizer = with_odd_tokens(byte_tokenizer())
    return tokenizer, Calculator().bind(tokenizer, ANGLE), lambda token: tokenizer.convert_tokens_to_ids(token)


def test_a_token_that_goes_on_behind_the_equals_sign_is_replaced(odd):
    tokenizer, bound, token = odd
    for last in ("=8", "=9>>"):  # a wrong result, and a wrong result with its marker
        row = write(bound, [*say("So <<3+4", tokenizer), token(last)])
        assert decode_completion(row.tokens, tokenizer) == "So <<3+4=7>>"
        assert token(last) not in row.tokens
        (span,) = row.forced
        assert decode_completion(row.tokens[: span[0]], tokenizer) == "So <<3+4"
        assert row.logprob == -1.0 * span[0]  # the replaced token is not counted


def test_the_tokenizers_own_spelling_is_preferred(odd):
    tokenizer, bound, token = odd
    row = write(bound, say("So <<5+3=", tokenizer))
    # "=8" is one token: as a gold solution would have it, it takes the place of "=".
    assert row.tokens == say("So <<5+3=8>>", tokenizer)
    assert token("=8") in row.tokens
    row = write(bound, [*say("So <<5", tokenizer), token("+ 3=")])
    assert decode_completion(row.tokens, tokenizer) == "So <<5+ 3=8>>"


def test_only_the_closing_marker_is_forced_though_a_token_has_more(odd):
    tokenizer, bound, token = odd
    row = write(bound, say("So <<3+2=", tokenizer))
    assert decode_completion(row.tokens, tokenizer) == "So <<3+2=5>>"
    assert token(">>5") not in row.tokens


def test_one_token_may_end_an_annotation_and_begin_the_next():
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["=<<"])
    bound = Calculator().bind(tokenizer, ANGLE)
    row = write(bound, [*say("So <<2+3", tokenizer), len(tokenizer) - 1])
    assert decode_completion(row.tokens, tokenizer) == "So <<2+3=5>>"
    row = write(bound, [*say("So <<two", tokenizer), len(tokenizer) - 1, *say("3+4=", tokenizer)])
    assert decode_completion(row.tokens, tokenizer) == "So <<two=<<3+4=7>>"


PARTS = ["<<", ">>", "=", "1+1", "x", "\n", "<"]


@pytest.fixture(scope="module")
def many_marks():
    """A vocabulary with a token for whatever up to three of these parts say."""
    tokenizer = byte_tokenizer()
    texts = sorted({"".join(parts) for n in (1, 2, 3) for parts in product(PARTS, repeat=n)})
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in texts])
    return Calculator().bind(tokenizer, ANGLE)


@settings(max_examples=500)
@given(st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3), max_size=12))
@example([["<<", "x"], ["=", "<<", "1+1"], ["="]])
@example([["<<", "x"], ["=", "<<", "1+1"], ["x", "=", "x"], ["x"]])
@example([["<<", "x"], ["=", "<<"], ["1+1", "=", "x"], ["x"]])
@example([["<<", "1+1"], [">>", "=", "<<"], ["1+1", "="]])
@example([["<<", "1+1"], [">>", "\n", "="], ["<<", "1+1", "="]])
@example([["<<"], ["x", "=", "<<"], ["1+1", "=", "x"]])
def test_however_marks_share_tokens_it_is_as_if_each_letter_came_alone(many_marks, groups):
    texts = {text: token for token, text in enumerate(many_marks.texts)}
    said = "".join(part for group in groups for part in group)
    whole = write(many_marks, [texts["".join(group).encode()] for group in groups])
    single = write(many_marks, [texts[letter.encode()] for letter in said])
    assert _text(many_marks, whole) == _text(many_marks, single)
    assert whole.hook.counts == single.hook.counts


def _text(bound, row):
    return b"".join(bound.texts[token] for token in row.tokens)


def test_a_token_before_the_opening_marker_may_be_replaced_whole():
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["is <<1+1=3"])
    row = write(Calculator().bind(tokenizer, ANGLE), [*say("It ", tokenizer), len(tokenizer) - 1])
    assert decode_completion(row.tokens, tokenizer) == "It is <<1+1=2>>"


@settings(max_examples=150)
@given(st.data())
def test_however_an_annotation_is_cut_into_tokens_its_result_is_ours(data):
    """Whatever tokens spell ``<<a+b=`` and a wrong result, in one token or many, the text comes out right."""
    bound = _random_case()
    a, b, wrong = (data.draw(st.integers(0, 99)) for _ in range(3))
    text = f"x <<{a}+{b}={wrong}>>".encode()
    row = Row(0, 0, 0, 0, 0, [0], bound.start())
    at = 0
    while at < len(text) and not row.forced:
        fitting = [i for i, t in enumerate(bound.texts) if t and text.startswith(t, at)]
        token = data.draw(st.sampled_from(fitting))
        row.accept(token, 0.0, (), 10_000)
        at += len(bound.texts[token])
    assert b"".join(bound.texts[i] for i in row.tokens).decode() == f"x <<{a}+{b}={a + b}>>"


@settings(max_examples=150)
@given(st.lists(st.integers(0, 10_000), max_size=60))
@example([311])  # ``<<1+1=``: all of an annotation but its result
def test_whatever_a_model_says_what_is_forced_can_be_said_and_is_bounded(ids):
    """Any tokens, also such as the vocabulary does not have."""
    bound = _random_case()
    row = bound.start()
    for token in ids:
        forced = row.feed(token)
        if forced is not None:
            said = b"".join(bound.texts[i] for i in forced.token_ids)
            assert said.endswith(bound.closing)
            assert len(said) <= 200 + 2 * MAX_DIGITS
        assert len(row._text) <= 300
    assert row.counts["annotations"] == row.counts["evaluated"] + row.counts["left"]


@settings(max_examples=150)
@given(
    st.lists(st.sampled_from(["<<", ">>", "=", "1", "9", "+", "*", "(", ")", "/", "0", "\n", "x", "="]), max_size=40)
)
def test_whatever_stands_in_an_annotation_its_result_is_exact_or_left(parts):
    bound = _random_case()
    row = bound.start()
    text = ""
    for part in parts:
        (token,) = [i for i, t in enumerate(bound.texts) if t == part.encode()][:1] or [None]
        if token is None:
            continue
        text += part
        forced = row.feed(token)
        if forced is not None:
            expression = text.rpartition("<<")[2].removesuffix("=")
            said = b"".join(bound.texts[i] for i in forced.token_ids).decode()
            assert said.removeprefix("=") == f"{calculate(expression)}>>"
            break  # what comes next stands behind the result


def _random_case():
    if not _CACHE:
        tokenizer = byte_tokenizer()
        tokenizer.add_tokens(
            [f"={d}" for d in range(10)] + [f"{d}=" for d in range(10)] + [">>5", "=12>>", "<<1", "<<1+1="]
        )
        _CACHE.append(Calculator().bind(tokenizer, ANGLE))
    return _CACHE[0]


_CACHE: list[BoundCalculator] = []


def scripted(text, tokenizer, notation, **settings):
    """Run a model that says ``text`` behind a one-token prompt through the engine, with the calculator."""
    ids = say(text, tokenizer)
    model = scripted_model([ids[0], *ids], len(tokenizer), tokenizer.eos_token_id)
    hook = parse_spec("selfstudy.generation.hooks", "calculator")
    engine = make_engine(model, tokenizer, notation=notation, hook=hook, temperature=0, max_new_tokens=60, **settings)
    (sample,) = engine.generate(_prompt(ids[0]))
    return sample.completion, engine


def _prompt(token):
    (request,) = _requests([1])
    return [type(request)(request.problem_id, (token,), request.indices)]


def test_inside_the_engine():
    tokenizer = byte_tokenizer(300)
    # The script goes by position: where tokens are forced, what it would have said there is lost.
    wrong = "He has <<30+40=71>>70 apples"
    completion, engine = scripted(wrong, tokenizer, ANGLE)
    assert completion.text == "He has <<30+40=70>>70 apples"
    assert completion.finish == "stop"
    assert completion.token_ids[-1] == tokenizer.eos_token_id
    (span,) = completion.forced
    assert decode_completion(completion.token_ids[span[0] : span[1]], tokenizer) in ("70>>", "=70>>")
    assert engine.counts == {"annotations": 1, "evaluated": 1}
    assert re.fullmatch(r"He has <<30\+40=70>>", decode_completion(completion.token_ids[: span[1]], tokenizer))


def test_inside_the_engine_a_span_is_cut_at_the_limit():
    tokenizer = byte_tokenizer(300)
    text = "He has <<30+40=71>>70 apples"
    whole, _ = scripted(text, tokenizer, ANGLE)
    (start, _stop) = whole.forced[0]
    hook = parse_spec("selfstudy.generation.hooks", "calculator")
    ids = say(text, tokenizer)
    model = scripted_model([ids[0], *ids], len(tokenizer), tokenizer.eos_token_id)
    engine = make_engine(model, tokenizer, hook=hook, temperature=0, max_new_tokens=start + 1)
    (sample,) = engine.generate(_prompt(ids[0]))
    assert sample.completion.token_ids == whole.token_ids[: start + 1]
    assert (sample.completion.forced, sample.completion.finish) == (((start, start + 1),), "length")
