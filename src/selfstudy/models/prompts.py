r"""Prompts and completions as tokens: the one prompt template, and the one convention for what follows it.

Prompt and completion are tokenised apart and joined, so that the boundary never depends on what was sampled, and the
completion's tokens are its labels. What stands between their texts:

- Causal models: one space, unless the prompt ends in white space already (``…Answer:`` and `` Tom has``; a chat
  template ends in ``assistant\n`` and is followed by ``Tom has``). The space belongs to the first token of the
  completion, as in running text, whether the tokenizer spells it (``ĠTom``) or adds it itself (``▁Tom``).
- Encoder–decoder models: nothing, since the decoder starts anew; the tokenizer's own spelling of a text's beginning.

``Completion.text`` never has that space: :func:`decode_completion` decodes token ids as they read after other text and
drops one leading space. A gold solution's text is what its tokens decode to, so gold and sampled texts have one form.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter
from typing import Self, cast

from jinja2 import TemplateError
from pydantic import model_validator
from transformers import PreTrainedTokenizerBase

from selfstudy.config import Settings
from selfstudy.errors import DataError, ModelError
from selfstudy.judging.answers import ensure_answer_line
from selfstudy.judging.notation import Notation
from selfstudy.models.tokenizers import Family
from selfstudy.types import Completion, Problem

TEMPLATES: dict[Family, str] = {"causal": "Question: {question}\nAnswer:", "seq2seq": "{question}"}
_FIELDS = ("question", "id")
# Chat templates may ask for today's date; a prompt must be the same tomorrow.
_TODAY = "{% macro strftime_now(form) %}26 Jul 2024{% endmacro %}"
# Every tokenizer of use here has digits; see decode_completion.
_BEFORE = "0"


class PromptSettings(Settings):
    r"""How a problem is put to the model.

    Attributes:
        template: The prompt, with ``{question}`` and perhaps ``{id}``; braces meant literally are doubled. None is
            ``Question: {question}\nAnswer:`` for causal models and the bare question for chats and encoder–decoders.
        chat: Send it as the user's message through the model's own chat template.
        system: The system message of a chat.
    """

    template: str | None = None
    chat: bool = False
    system: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.system is not None and not self.chat:
            raise ValueError("system is a message of a chat; set chat: true, or put it into the template")
        if self.template is not None:
            names = _field_names(self.template)
            unknown = sorted({name for name in names if name not in _FIELDS})
            if unknown:
                raise ValueError(
                    f"template has {{{unknown[0]}}}; there are {{question}} and {{id}} (literal braces are doubled)"
                )
            if "question" not in names:
                raise ValueError("template lacks {question}, so every problem would have the same prompt")
        return self


def prompt_text(problem: Problem, tokenizer: PreTrainedTokenizerBase, settings: PromptSettings, family: Family) -> str:
    """Write a problem's prompt.

    Raises:
        ModelError: A chat is asked of a tokenizer without a chat template, or its template refuses the messages.
    """
    template = settings.template or ("{question}" if settings.chat else TEMPLATES[family])
    text = template.format(question=problem.question, id=problem.id)
    if not settings.chat:
        return text
    if not tokenizer.chat_template:
        raise ModelError("prompt.chat is on, but the model has no chat template; set prompt.chat: false")
    messages = [{"role": "system", "content": settings.system}] if settings.system is not None else []
    messages.append({"role": "user", "content": text})
    chat_template = tokenizer.get_chat_template()
    if "strftime_now" in chat_template:
        chat_template = _TODAY + chat_template
    try:
        rendered = tokenizer.apply_chat_template(
            messages, chat_template=chat_template, add_generation_prompt=True, tokenize=False
        )
    except TemplateError as error:
        raise ModelError(
            f"the model's chat template refuses the prompt of {problem.id}: {error}; set prompt.system: null if it "
            "knows no such message, or prompt.chat: false"
        ) from error
    return cast(str, rendered)


def encode_prompt(
    problem: Problem, tokenizer: PreTrainedTokenizerBase, settings: PromptSettings, family: Family
) -> tuple[int, ...]:
    """Tokenise a problem's prompt.

    Causal: BOS if the tokenizer adds one, never EOS. Encoder–decoder: the encoder's input with the special tokens that
    the tokenizer adds (EOS, for T5). A chat template writes its special tokens itself.
    """
    text = prompt_text(problem, tokenizer, settings, family)
    # A question that happens to hold "</s>" spells it out; in a rendered chat special tokens are meant.
    special = family == "seq2seq" or not settings.chat
    ids = tokenizer(text, add_special_tokens=special, split_special_tokens=not settings.chat)["input_ids"]
    while family == "causal" and ids and ids[-1] == tokenizer.eos_token_id and not settings.chat:
        ids = ids[:-1]
    return tuple(ids)


def encode_completion(text: str, tokenizer: PreTrainedTokenizerBase, after: str = "") -> tuple[int, ...]:
    """Tokenise a completion, EOS at its end.

    Args:
        text: Without a leading space; :func:`decode_completion` gives it back as far as the vocabulary can spell it.
        tokenizer: Its special tokens are not recognised in ``text``.
        after: The prompt's text for causal models; empty for encoder–decoder models.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "the tokenizer has no EOS token, so a completion cannot end; set eos_token in tokenizer_config.json"
        )
    return (*_encode_after(text, tokenizer, after), int(tokenizer.eos_token_id))


def decode_completion(token_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the text of a completion: no special tokens, and without the one space that parts it from the prompt.

    Decoders treat the first token differently (T5's drops its space, word pieces keep their ``##``), so that the
    tokens are decoded behind a digit, which is then cut off.
    """
    return _decode_after(token_ids, tokenizer).removeprefix(" ")


def gold_completion(
    problem: Problem,
    tokenizer: PreTrainedTokenizerBase,
    notation: Notation,
    settings: PromptSettings,
    family: Family,
) -> Completion:
    """Return a problem's worked solution as a completion: with its answer line, in ``notation``, ending in EOS.

    Raises:
        DataError: The problem has no solution.
    """
    if problem.solution is None:
        raise DataError(f"{problem.id} has no worked solution, so there is no gold completion of it")
    text = notation.rewrite(ensure_answer_line(problem.solution, problem.answer)).strip()
    after = prompt_text(problem, tokenizer, settings, family) if family == "causal" else ""
    token_ids = encode_completion(text, tokenizer, after)
    return Completion(decode_completion(token_ids, tokenizer), token_ids, finish="gold")


def _encode_after(text: str, tokenizer: PreTrainedTokenizerBase, after: str) -> list[int]:
    if not after:
        return _encode(text, tokenizer)
    wanted = text if after[-1].isspace() else " " + text
    plain = _encode(wanted, tokenizer)
    if _decode_after(plain, tokenizer) == wanted:
        return plain
    # The tokenizer adds a space of its own in front (Llama's SentencePiece): once too often, or where none is wanted.
    bare = _encode(text, tokenizer)
    if _decode_after(bare, tokenizer) == wanted:
        return bare
    line, both = _encode("\n", tokenizer), _encode("\n" + wanted, tokenizer)
    behind = both[len(line) :]
    if both[: len(line)] == line and _decode_after(behind, tokenizer) == wanted:
        return behind
    return plain  # it cannot spell the text exactly, as T5's cannot spell a newline


def _encode(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _decode_after(token_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    before = _encode(_BEFORE, tokenizer)
    return _decode([*before, *token_ids], tokenizer)[len(_decode(before, tokenizer)) :]


def _decode(token_ids: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    return cast(str, tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _field_names(template: str) -> set[str]:
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"template is not a format string: {error} (literal braces are doubled)") from None
    # A format such as {question:>10} or {question!r} counts as unknown: what is asked is the question as it is.
    return {
        name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        for _, name, form, conversion in parsed
        if name is not None
    }
