"""The form that a run's text takes for one tokenizer: prompt template and notation, bound together once.

A model folder remembers its form in ``selfstudy.json``, so that a trained model can be asked without its run's config.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

from selfstudy.errors import ModelError
from selfstudy.judging.answers import ensure_answer_line
from selfstudy.judging.notation import ANGLE, BRACKET, NOTATIONS, Notation
from selfstudy.models.prompts import (
    TEMPLATES,
    PromptSettings,
    decode_completion,
    encode_prompt,
    gold_completion,
    prompt_text,
)
from selfstudy.models.tokenizers import Family
from selfstudy.models.vocabulary import check_notation, choose_notation
from selfstudy.storage.atomic import write_json
from selfstudy.types import Completion, Problem

FORMAT_FILE = "selfstudy.json"


class FormatSettings(PromptSettings):
    """How text is written.

    Attributes:
        notation: How solutions mark arithmetic: ``angle`` (``<<1+2=3>>`` and newlines), ``bracket`` (``[ 1+2 = 3 ]`` on
            one line), or ``auto``: the first of them that the tokenizer can spell.
    """

    notation: Literal["auto", "angle", "bracket"] = "auto"


@dataclass(frozen=True)
class Format:
    """Settings bound to a tokenizer."""

    tokenizer: PreTrainedTokenizerBase
    family: Family
    settings: FormatSettings
    notation: Notation

    def prompt_ids(self, problem: Problem) -> tuple[int, ...]:
        """Return the tokens of a problem's prompt."""
        return encode_prompt(problem, self.tokenizer, self.settings, self.family)

    def gold(self, problem: Problem) -> Completion:
        """Return a problem's worked solution as a completion."""
        return gold_completion(problem, self.tokenizer, self.notation, self.settings, self.family)

    def texts(self, problem: Problem) -> tuple[str, str]:
        """Return a problem's prompt, and what stands between it and a completion."""
        prompt = prompt_text(problem, self.tokenizer, self.settings, self.family)
        return prompt, "" if self.family == "seq2seq" or prompt[-1:].isspace() else " "

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of a completion's tokens."""
        return decode_completion(list(token_ids), self.tokenizer)

    def save(self, folder: Path) -> None:
        """Write the form beside a model."""
        settings = self.settings.model_copy(update={"notation": self.notation.name})
        write_json(folder / FORMAT_FILE, settings.model_dump(mode="json"))


def bind(settings: FormatSettings, tokenizer: PreTrainedTokenizerBase, family: Family) -> Format:
    """Bind settings to a tokenizer.

    Raises:
        ModelError: The tokenizer cannot spell the notation; says what its round trip gave.
    """
    if settings.notation == "auto":
        return Format(tokenizer, family, settings, choose_notation(tokenizer))
    notation = NOTATIONS[settings.notation]
    try:
        check_notation(tokenizer, notation)
    except ModelError as error:
        raise ModelError(f"{error}; set prompt.notation: auto, which takes what the tokenizer can spell") from None
    return Format(tokenizer, family, settings, notation)


def read_format(folder: Path) -> FormatSettings:
    """Read the form that a model folder remembers; the defaults where it remembers none.

    Raises:
        ModelError: The file is damaged.
        ConfigError: A value in it is wrong.
    """
    path = folder / FORMAT_FILE
    if not path.is_file():
        return FormatSettings()
    try:
        tree = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); mend it, or remove it for the default form") from None
    return FormatSettings.parse(tree, str(path))


def tokenizer_text(problem: Problem, settings: FormatSettings, family: Family) -> str:
    """Write a problem as a tokenizer of one's own should see it: prompt, and solution where there is one."""
    notation = {"angle": ANGLE, "bracket": BRACKET, "auto": ANGLE if family == "causal" else BRACKET}[settings.notation]
    text = (settings.template or TEMPLATES[family]).format(question=problem.question, id=problem.id)
    if problem.solution is not None:
        text += " " + notation.rewrite(ensure_answer_line(problem.solution, problem.answer))
    return text
