"""The rules of deduplication once more, as plainly as they can be written: what the package is compared with."""

from __future__ import annotations

from fractions import Fraction

from selfstudy.types import Completion


def tokens(one: Completion) -> list[int]:
    """List the tokens without the final EOS."""
    ids = list(one.token_ids)
    return ids if one.finish == "length" else ids[: len(ids) - 1]


def similarity(one: Completion, other: Completion) -> Fraction:
    """Count token by token."""
    union = {t for t in tokens(one) + tokens(other)}
    both = [t for t in union if t in tokens(one) and t in tokens(other)]
    return Fraction(len(both), len(union)) if union else Fraction(1)


def representative(same_text: list[Completion]) -> Completion:
    """Prefer gold, then finished, then the smallest token ids."""
    for finish in ("gold", "stop", "length"):
        found = [one for one in same_text if one.finish == finish]
        if found:
            return min(found, key=lambda one: one.token_ids)
    raise AssertionError


def deduplicate(pool: list[Completion], threshold: Fraction) -> list[Completion]:
    """Gold first, then texts from small to large; each must differ enough from all kept so far."""
    texts = sorted({one.text for one in pool})
    ones = [representative([one for one in pool if one.text == text]) for text in texts]
    kept: list[Completion] = []
    for wanted in (True, False):
        for one in ones:
            if (one.finish == "gold") == wanted and not any(similarity(one, other) > threshold for other in kept):
                kept.append(one)
    return kept
