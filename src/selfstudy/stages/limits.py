"""How long what is learnt from may be: the rest is left out and listed, never cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from selfstudy.errors import TrainingError
from selfstudy.learning.optim import OptimSettings
from selfstudy.storage.atomic import write_json

T = TypeVar("T")


class LimitedSettings(OptimSettings):
    """Training on prompts and completions of bounded length.

    Attributes:
        max_prompt_tokens: Examples or pairs with a longer prompt are left out and listed, never cut.
        max_completion_tokens: Likewise for a solution, its EOS included.
    """

    max_prompt_tokens: Annotated[int, Field(ge=1)] = 512
    max_completion_tokens: Annotated[int, Field(ge=1)] = 512

    def within(
        self, found: Sequence[T], lengths: Callable[[T], tuple[str, int, int]], left_out: Path, *, needed: bool = True
    ) -> list[T]:
        """Return what is not too long, and list the rest.

        Args:
            found: Examples or pairs.
            lengths: Gives the problem's id, and the tokens of the prompt and of the longest completion.
            left_out: File to write.
            needed: Whether there is nothing to be done without any of them.

        Raises:
            TrainingError: Everything is too long, and needed.
        """
        kept, others = [], []
        for one in found:
            problem_id, prompt, completion = lengths(one)
            if prompt <= self.max_prompt_tokens and completion <= self.max_completion_tokens:
                kept.append(one)
            else:
                others.append({"problem_id": problem_id, "prompt": prompt, "completion": completion})
        write_json(left_out, others)
        if needed and found and not kept:
            raise TrainingError(
                f"all {len(found)} examples or pairs have more tokens than max_prompt_tokens "
                f"({self.max_prompt_tokens}) or max_completion_tokens ({self.max_completion_tokens}) allow; raise them"
            )
        return kept
