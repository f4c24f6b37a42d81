"""Where prompts end and completions begin, for every kind of tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfstudy.errors import ConfigError, DataError, ModelError
from selfstudy.judging.notation import ANGLE, BRACKET
from selfstudy.models.prompts import (
    PromptSettings,
    decode_completion,
    encode_completion,
    encode_prompt,
    gold_completion,
    prompt_text,
)
from selfstudy.models.tokenizers import train_tokenizer
from selfstudy.types import Problem
from tests.fakes import BRACKET_CORPUS, CORPUS, byte_tokenizer, llama_tokenizer, sentencepiece_tokenizer

PROBLEM = Problem("mine/1", "Tom has 3 apples and buys 5 more. How many?", "8", "He has 3+5=<<3+5=8>>8 apples.\n#### 8")
CAUSAL = {
    "trained": train_tokenizer(CORPUS, "causal", 400),
    "byte": byte_tokenizer(),
    "byte-merging": byte_tokenizer(split_digits=False),
    "llama-legacy": llama_tokenizer(),
    "llama": llama_tokenizer(legacy=False),
}
SEQ2SEQ = {"trained": train_tokenizer(BRACKET_CORPUS, "seq2seq", 300), "unigram": sentencepiece_tokenizer()}
# Ends in no space, a newline, a space.
TEMPLATES = ["Question: {question}\nAnswer:", "{question}\n", "Q {question} A: "]

causal = pytest.mark.parametrize("tokenizer", CAUSAL.values(), ids=CAUSAL.keys())
seq2seq = pytest.mark.parametrize("tokenizer", SEQ2SEQ.values(), ids=SEQ2SEQ.keys())


def decode(tokenizer, ids):
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


@causal
@pytest.mark.parametrize("template", TEMPLATES)
def test_prompt_and_completion_read_as_one_text(tokenizer, template):
    settings = PromptSettings(template=template)
    prompt = prompt_text(PROBLEM, tokenizer, settings, "causal")
    gold = gold_completion(PROBLEM, tokenizer, ANGLE, settings, "causal")
    between = "" if prompt[-1].isspace() else " "
    joined = decode(tokenizer, (*encode_prompt(PROBLEM, tokenizer, settings, "causal"), *gold.token_ids))
    assert joined == prompt + between + gold.text
    assert gold.text == PROBLEM.solution


@causal
@given(
    text=st.text(alphabet="ab 1=<>+#\n.é½", min_size=1).filter(lambda s: s[0] != " "),
    template=st.sampled_from(TEMPLATES),
)
def test_decoding_gives_the_text_back(tokenizer, text, template):
    ids = encode_completion(text, tokenizer, after=template)
    assert ids[-1] == tokenizer.eos_token_id
    assert decode_completion(ids, tokenizer) == text


@causal
@pytest.mark.parametrize("settings", [PromptSettings(), PromptSettings(template="{question}")])
def test_causal_prompts_begin_as_the_tokenizer_wants_and_do_not_end(tokenizer, settings):
    ids = encode_prompt(PROBLEM, tokenizer, settings, "causal")
    assert (ids[0] == tokenizer.bos_token_id) == (tokenizer.bos_token_id is not None)
    assert tokenizer.eos_token_id not in ids


@seq2seq
def test_seq2seq(tokenizer):
    gold = gold_completion(PROBLEM, tokenizer, BRACKET, PromptSettings(), "seq2seq")
    assert gold.text == "He has 3+5=[ 3+5 = 8 ]8 apples. #### 8"
    assert gold.token_ids[-1] == tokenizer.eos_token_id
    assert gold.token_ids[:-1] == tuple(tokenizer(gold.text, add_special_tokens=False)["input_ids"])
    prompt = encode_prompt(PROBLEM, tokenizer, PromptSettings(), "seq2seq")
    assert list(prompt) == tokenizer(PROBLEM.question)["input_ids"]


def test_trained_seq2seq_prompt_ends_in_eos():
    tokenizer = SEQ2SEQ["trained"]
    assert encode_prompt(PROBLEM, tokenizer, PromptSettings(), "seq2seq")[-1] == tokenizer.eos_token_id


@causal
def test_special_tokens_in_the_data_are_text(tokenizer):
    problem = Problem("p", "What is </s> here?", "1", "It </s> is.\n#### 1")
    gold = gold_completion(problem, tokenizer, ANGLE, PromptSettings(), "causal")
    assert gold.token_ids.count(tokenizer.eos_token_id) == 1
    assert gold.text == problem.solution
    assert tokenizer.eos_token_id not in encode_prompt(problem, tokenizer, PromptSettings(), "causal")


def test_a_first_word_piece_is_decoded_as_in_running_text():
    tokenizer = CAUSAL["byte"]
    assert decode_completion(tokenizer("Tom")["input_ids"], tokenizer) == "Tom"
    assert decode_completion(tokenizer(" Tom")["input_ids"], tokenizer) == "Tom"
    assert decode_completion(tokenizer("  Tom")["input_ids"], tokenizer) == " Tom"
    llama = CAUSAL["llama"]
    assert decode_completion([llama.convert_tokens_to_ids("▁apples"), llama.eos_token_id], llama) == "apples"
    assert decode_completion([], llama) == ""


def test_gold_gets_its_answer_line():
    problem = Problem("p", "?", "8", "He has 3+5=8 apples.")
    gold = gold_completion(problem, CAUSAL["byte"], ANGLE, PromptSettings(), "causal")
    assert gold.text == "He has 3+5=8 apples.\n#### 8"
    assert gold.finish == "gold"
    with pytest.raises(DataError, match="p has no worked solution"):
        gold_completion(Problem("p", "?", "8"), CAUSAL["byte"], ANGLE, PromptSettings(), "causal")


def test_eos_added_by_the_tokenizer_is_no_part_of_a_causal_prompt():
    assert encode_prompt(PROBLEM, SEQ2SEQ["trained"], PromptSettings(), "causal")[-1] != 1


CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def test_chat():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHATML
    settings = PromptSettings(chat=True, system="Think.")
    text = prompt_text(PROBLEM, tokenizer, settings, "causal")
    assert text == f"<|system|>Think.\n<|user|>{PROBLEM.question}\n<|assistant|>\n"
    ids = encode_prompt(PROBLEM, tokenizer, settings, "causal")
    gold = gold_completion(PROBLEM, tokenizer, ANGLE, settings, "causal")
    assert decode(tokenizer, (*ids, *gold.token_ids)) == text + gold.text


def test_chat_templates_do_not_see_the_clock():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}"
    assert prompt_text(PROBLEM, tokenizer, PromptSettings(chat=True), "causal").startswith("26 Jul 2024 Tom")


def test_chat_needs_a_template_that_takes_the_messages():
    tokenizer = byte_tokenizer()
    with pytest.raises(ModelError, match="no chat template"):
        encode_prompt(PROBLEM, tokenizer, PromptSettings(chat=True), "causal")
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(ModelError, match="refuses the prompt of mine/1: System role not supported"):
        encode_prompt(PROBLEM, tokenizer, PromptSettings(chat=True, system="x"), "causal")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"template": "Answer this:"}, r"prompt: template lacks \{question\}"),
        ({"template": "{question} {answer}"}, r"template has \{answer\}; there are \{question\} and \{id\}"),
        ({"template": "{question.__class__} {question}"}, r"template has \{question.__class__\}"),
        ({"template": "{question} {question!r}"}, r"template has \{question!r\}"),
        ({"template": "{question} {"}, r"literal braces are doubled"),
        ({"system": "Be brief."}, r"system is a message of a chat; set chat: true"),
        ({"templat": "x"}, r"templat is not a setting; did you mean 'template'\?"),
    ],
)
def test_wrong_settings(tree, message):
    with pytest.raises(ConfigError, match=message):
        PromptSettings.parse(tree, "prompt")


def test_braces_in_questions_are_text():
    problem = Problem("p", "What is {x}?", "1")
    settings = PromptSettings(template="{{{id}}} {question}")
    assert prompt_text(problem, CAUSAL["byte"], settings, "causal") == "{p} What is {x}?"
