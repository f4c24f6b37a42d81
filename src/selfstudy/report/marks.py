"""Solutions cut into parts: what the calculator wrote, and the first step that cannot be right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from selfstudy.judging.audit import audit
from selfstudy.types import Completion

CALCULATOR, FAULT = 1, 2  # flags of a part

Part = tuple[int, str]


def mark(question: str, completion: Completion, vocabulary: Sequence[bytes] | None) -> tuple[list[Part], str | None]:
    """Cut a solution into parts with flags; return them, and what is wrong with the first faulty step.

    Args:
        question: What was asked.
        completion: The solution.
        vocabulary: What each token says; None where the tokenizer is not at hand: then no part is the calculator's.
    """
    text = completion.text
    fault = next((fault for fault in audit(question, text) if fault.kind != "unused"), None)
    spans = [(start, stop, CALCULATOR) for start, stop in _calculated(completion, vocabulary or ())]
    if fault is not None:
        spans.append((fault.start, fault.stop, FAULT))
    cuts = sorted({0, len(text), *(place for start, stop, _ in spans for place in (start, stop))})
    parts = [
        (sum(flag for begin, end, flag in spans if begin <= start and stop <= end), text[start:stop])
        for start, stop in pairwise(cuts)
    ]
    return parts, fault.message if fault else None


def _calculated(completion: Completion, vocabulary: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return the characters of the forced tokens; none where the tokens do not spell the text."""
    if not completion.forced or max(completion.token_ids) >= len(vocabulary):
        return []
    said = [vocabulary[token] for token in completion.token_ids]
    written = b"".join(said)
    lead = written.startswith(b" ")  # it parts the completion from the prompt, and the text does not have it
    if written[lead:].decode(errors="replace") != completion.text:
        return []
    places = list(accumulate(map(len, said), initial=0))

    def character(token: int) -> int:
        return len(written[lead : places[token]].decode(errors="replace"))

    return [(character(start), character(stop)) for start, stop in completion.forced]
