"""The calculator: when the model has written an annotation up to ``=``, the exact result and the closing marker follow.

A row is followed by the text of its tokens, byte by byte, so any tokenizer that can spell the notation will do: a token
may hold ``=``, digits and ``>>`` at once. What the row says after ``=`` is always ours: a token that goes on behind the
``=`` is replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated

from pydantic import Field
from transformers import PreTrainedTokenizerBase

from selfstudy.generation.hooks import BoundHook, Forced, Hook
from selfstudy.judging.expressions import calculate
from selfstudy.judging.notation import Notation
from selfstudy.models.vocabulary import token_texts

# Longer text between markers is no annotation (GSM8K's longest expression has 71 characters).
_LONGEST = 200


class Calculator(Hook):
    """Writes results of arithmetic.

    Attributes:
        decimals: Places of a result that no decimal writes exactly.
    """

    decimals: Annotated[int, Field(ge=0, le=10)] = 2

    def bind(self, tokenizer: PreTrainedTokenizerBase, notation: Notation) -> BoundHook:
        """Tabulate the vocabulary."""
        return BoundCalculator(tokenizer, notation, self.decimals)


class BoundCalculator:
    """A calculator for one tokenizer and notation."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, notation: Notation, decimals: int):
        self.notation = notation
        self.decimals = decimals
        self.texts = token_texts(tokenizer)
        # The result comes after the sign itself; what follows it in the notation (a space) is ours to write.
        self.opening, self.closing = notation.opening.encode(), notation.closing.encode()
        self.equals = notation.equals.rstrip().encode()
        self.after_equals = notation.equals[len(notation.equals.rstrip()) :].encode()
        self._tokenizer = tokenizer
        self._ids: dict[bytes, int] = {}
        for token_id, text in enumerate(self.texts):
            if text:
                self._ids.setdefault(text, token_id)
        self._longest = max(map(len, self._ids), default=0)
        # Contexts repeat a lot within a run, above all when several samples of a problem agree.
        self.spell = lru_cache(maxsize=65536)(self._spell)

    def start(self) -> RowCalculator:
        """Begin a row."""
        return RowCalculator(self)

    def _spell(self, before: bytes, text: bytes) -> tuple[int, ...] | None:
        """Return tokens that say exactly ``text``, if possible those the tokenizer uses where ``before`` precedes it.

        None where its tokens in context do not begin anew at ``text``, as where ``=7`` is one token and ``before`` ends
        in ``=``.
        """
        encoded: Sequence[int] = self._tokenizer(
            (before + text).decode(errors="replace"), add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
        wanted = len(text)
        for start in range(len(encoded) - 1, -1, -1):
            wanted -= len(self.texts[encoded[start]])
            if wanted <= 0:
                tail = tuple(encoded[start:])
                return tail if b"".join(self.texts[i] for i in tail) == text else None
        return None

    def spell_anyhow(self, text: bytes) -> tuple[int, ...] | None:
        """Return the fewest tokens that say exactly ``text``, the longest first where there is a choice."""
        best: list[tuple[int, ...] | None] = [None] * len(text) + [()]
        for start in range(len(text) - 1, -1, -1):
            for stop in range(min(len(text), start + self._longest), start, -1):
                token, rest, found = self._ids.get(text[start:stop]), best[stop], best[start]
                if token is not None and rest is not None and (found is None or len(rest) + 1 < len(found)):
                    best[start] = (token, *rest)
        return best[0]


class RowCalculator:
    """Follows one row.

    Attributes:
        counts: ``annotations`` that came as far as ``=``; of them, ``evaluated`` and ``left`` to the model.
    """

    __slots__ = ("_calculator", "_text", "counts")

    def __init__(self, calculator: BoundCalculator):
        self._calculator = calculator
        # From the last opening marker on; outside of annotations, what may be the beginning of a marker.
        self._text = b""
        self.counts: Counter[str] = Counter()

    def feed(self, token_id: int) -> Forced | None:
        """Take a drawn token in; return the result and closing marker once an expression and ``=`` are complete."""
        bound = self._calculator
        piece = bound.texts[token_id] if token_id < len(bound.texts) else b""
        text, handled, at = self._text + piece, 0, 0
        # One token may hold several marks: the ``=`` of an annotation, and the next one.
        while (at := text.find(bound.equals, at)) >= 0:
            through = at + len(bound.equals)
            expression = self._open(text, handled, at)
            if expression is not None:
                forced = self._force(text[:through], piece, expression, text[through:])
                self.counts["annotations"] += 1
                self.counts["left" if forced is None else "evaluated"] += 1
                if forced is not None:
                    self._text = b""
                    return forced
                handled = through
            at = through
        begun = self._open(text, handled, len(text))
        kept = len(bound.opening) + (-1 if begun is None else len(begun))
        self._text = text[max(handled, len(text) - kept) :]
        return None

    def _open(self, text: bytes, start: int, stop: int) -> bytes | None:
        """Return what stands in the annotation that begins after ``start`` and is open at ``stop``, if one is."""
        bound = self._calculator
        at = text.rfind(bound.opening, start, stop)
        if at < 0:
            return None
        inside = text[at + len(bound.opening) : stop]
        closed = bound.closing in inside or b"\n" in inside or len(inside) > _LONGEST
        return None if closed else inside

    def _force(self, through_equals: bytes, piece: bytes, expression: bytes, behind: bytes) -> Forced | None:
        """Return what to write, given the row's text up to ``=`` and what its last token says ``behind`` that."""
        bound = self._calculator
        try:
            result = calculate(expression.decode(), bound.decimals)
        except UnicodeDecodeError:
            return None
        if result is None:
            return None
        text = bound.after_equals + result.encode() + bound.closing
        for replace, kept, wanted in self._ways(through_equals, piece, behind, text):
            tokens = bound.spell(kept, wanted)
            if tokens:
                return Forced(tokens, replace)
        for replace, _, wanted in self._ways(through_equals, piece, behind, text):
            tokens = bound.spell_anyhow(wanted)
            if tokens:
                return Forced(tokens, replace)
        return None

    def _ways(
        self, through_equals: bytes, piece: bytes, behind: bytes, text: bytes
    ) -> Iterator[tuple[bool, bytes, bytes]]:
        """Yield (whether the last token is replaced, text that stays, text to write), the preferred way first."""
        if text.startswith(behind) and len(behind) <= len(self._calculator.after_equals):
            yield False, through_equals + behind, text[len(behind) :]
        cut = len(through_equals) + len(behind) - len(piece)
        yield True, through_equals[:cut], through_equals[cut:] + text
