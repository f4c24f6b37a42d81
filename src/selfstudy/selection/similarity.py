"""How alike completions are, and which of them say something new.

Similarity is Jaccard's, on the sets of the model tokenizer's tokens. A completion brings its tokens along, so nothing
is tokenised here.
"""

from __future__ import annotations

from collections.abc import Iterable

from selfstudy.types import Completion

TokenSet = frozenset[int]

# Of completions with the same text, one the model ended says more than one that was cut.
_FINISH_ORDER = {"gold": 0, "stop": 1, "length": 2}


def token_set(completion: Completion) -> TokenSet:
    """Return the tokens of a completion without its end-of-sequence token, which all finished ones share."""
    ended = completion.finish != "length"
    return frozenset(completion.token_ids[:-1] if ended else completion.token_ids)


def jaccard(a: TokenSet, b: TokenSet) -> float:
    """Return |a ∩ b| / |a ∪ b|; 1 for two empty sets, which are equal."""
    shared = len(a & b)
    union = len(a) + len(b) - shared
    return shared / union if union else 1.0


def distinct(completions: Iterable[Completion]) -> list[Completion]:
    """Keep one completion of each text, in canonical order whatever the order of the input.

    Returns:
        Gold ones first, then by text in code-point order. The one kept of a text is the gold one, else a finished one,
        else a cut one; among those, the one with the smallest token ids.
    """
    kept: dict[str, Completion] = {}
    for completion in sorted(completions, key=_canonical):
        kept.setdefault(completion.text, completion)
    return list(kept.values())


def _canonical(completion: Completion) -> tuple[bool, str, int, tuple[int, ...], tuple[tuple[int, int], ...]]:
    gold = completion.finish == "gold"
    return not gold, completion.text, _FINISH_ORDER[completion.finish], completion.token_ids, completion.forced


def deduplicate(completions: Iterable[Completion], threshold: float = 0.7) -> list[Completion]:
    """Drop every completion whose similarity with one kept before it exceeds ``threshold``.

    Args:
        completions: In any order: they are taken in that of :func:`distinct`, so a gold one is always kept.
        threshold: From 0 to 1; at 1 only equal texts are dropped.
    """
    kept: list[Completion] = []
    sets: list[TokenSet] = []
    for completion in distinct(completions):
        tokens = token_set(completion)
        if all(jaccard(tokens, other) <= threshold for other in sets):
            kept.append(completion)
            sets.append(tokens)
    return kept
