"""A calculator as one writes it around an engine that shows it tokens alone: decode, search, spell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from selfstudy.judging.expressions import calculate
from selfstudy.judging.notation import Notation

# More than any annotation has.
TAIL = 100


class TextCalculator:
    """Finds open annotations at the end of texts."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, notation: Notation):
        self._tokenizer = tokenizer
        self._notation = notation
        self._equals = notation.equals.rstrip()
        self.spell = lru_cache(maxsize=None)(self._spell)

    def answer(self, text: str) -> tuple[int, ...]:
        """Return the tokens that follow ``text``: result and closing marker; none where no annotation waits for one."""
        opening = text.rfind(self._notation.opening)
        if opening < 0 or not text.endswith(self._equals):
            return ()
        expression = text[opening + len(self._notation.opening) : len(text) - len(self._equals)]
        if self._notation.closing in expression or "=" in expression or "\n" in expression:
            return ()
        result = calculate(expression)
        return () if result is None else self.spell(result)

    def after(self, completion: Sequence[int]) -> tuple[int, ...]:
        """Return the tokens that follow a completion."""
        return self.answer(self._tokenizer.decode(completion[-TAIL:], skip_special_tokens=True))

    def stop_tokens(self, solutions: Iterable[Sequence[int]]) -> list[int]:
        """Return the tokens at which an engine without hooks has to stop: those that end in ``=`` within annotations.

        Others, as the ``=`` between an expression and its annotation, would stop it for nothing.

        Args:
            solutions: Tokens of solutions with annotations.
        """
        texts = self._tokenizer.batch_decode([[token] for token in range(len(self._tokenizer))])
        ending = {token for token, text in enumerate(texts) if text.rstrip().endswith("=")}
        return sorted(
            {
                solution[at]
                for solution in solutions
                for at in range(len(solution))
                if solution[at] in ending and self.after(solution[: at + 1])
            }
        )

    def _spell(self, result: str) -> tuple[int, ...]:
        before = f"1{self._equals}"
        behind = f"{before}{self._notation.equals[len(self._equals) :]}{result}{self._notation.closing}"
        return tuple(self._encode(behind)[len(self._encode(before)) :])

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
