"""Overlap: planted near copies are found, other problems are not, and nothing is compared with everything."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from selfstudy.problems import overlap
from selfstudy.problems.overlap import find_overlaps, similarity, words
from selfstudy.problems.sources import SourceSpec, load_source, read_problems
from selfstudy.types import Problem

TOM = (
    "Tom picks 12 apples in the garden behind his house. On Monday he gives 3 of them to his sister Ann, who likes "
    "them very much. How many apples does Tom have now?"
)


def problem(name: str, question: str) -> Problem:
    return Problem(name, question, "7")


def read(name: str, **settings: Any) -> list[Problem]:
    return read_problems(
        load_source(TypeAdapter(SourceSpec).validate_python({"name": name, **settings})), on_bad_rows="skip"
    )[0]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Tom's 1,000 apples.", "tom's 1000 apples"),
        ("TOM’S   1000\tapples!", "tom's 1000 apples"),
        ("half-price, twenty-five, 3-4 and 3 - 4", "half price 20 5 3 - 4 and 3 - 4"),
        ("What is (2+3)*4/5?", "what is 2 + 3 * 4 / 5"),
        ("$5.50 is 5% off", "5.50 is 5 % off"),
        ("one of three", "one of 3"),
        ("ｆｕｌｌ width ４２", "full width 42"),
        ("", ""),
        ("?!…", "?!..."),
    ],
)  # fmt: skip
def test_words(question: str, expected: str) -> None:
    assert " ".join(words(question)) == expected


def test_similarity_by_hand() -> None:
    """Of a b c d e the trigrams are abc, bcd, cde; of a b c d f they are abc, bcd, cdf: 2 · 2 / (3 + 3)."""
    assert similarity("abcde", "abcdf") == pytest.approx(2 / 3)
    assert similarity("abcde", "abcde") == 1
    assert similarity("abc", "xyz") == similarity("ab", "ab") == similarity("", "") == 0


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        (TOM, "exact"),
        (TOM.upper().replace(" ", "\n ").replace(".", " ;"), "exact"),
        (TOM.replace("12", "twelve").replace("3", "three"), "exact"),
        (TOM.replace("Tom", "Bert").replace("Ann", "Mia"), "near"),
        (TOM.replace("On Monday he", "He then").replace("very much", "a lot"), "near"),
        (". ".join([TOM.split(". ")[1], TOM.split(". ")[0], TOM.split(". ")[2]]), "near"),
        (TOM.replace("12", "13"), None),
        (TOM.replace("12", "120").replace("3", "30"), None),
        (TOM + " He had 5 before.", None),
        ("A shop has 12 pears. It sells 3 of them in the morning. How many pears are left in the shop?", None),
        ("Tom picks 12 apples, 3 are red?", None),
    ],
)
def test_what_is_the_same_what_is_near_and_what_is_another_problem(question: str, kind: str | None) -> None:
    others = [problem("o/1", "Who has 12 or 3 of anything that could be found in the garden?"), problem("t/1", TOM)]
    (found,) = find_overlaps([problem("m/1", question)], others)
    assert (found and (found.id, found.other_id, found.kind)) == (("m/1", "t/1", kind) if kind else None)
    if found:
        assert (found.similarity == 1) is (kind == "exact")
        assert found.similarity >= overlap.NEAR


def test_the_most_alike_is_named_the_first_of_equals_and_the_same_before_all() -> None:
    farther, nearer = TOM.replace("On Monday he", "He then"), TOM.replace("very", "so")
    training = [problem("far", farther), problem("near", nearer), problem("again", nearer)]
    assert find_overlaps([problem("m", TOM)], training)[0].other_id == "near"  # type: ignore[union-attr]
    training += [problem("same", TOM.lower()), problem("same, too", TOM)]
    assert find_overlaps([problem("m", TOM)], training)[0].other_id == "same"  # type: ignore[union-attr]


def test_each_that_measures_has_its_own_answer_even_under_one_id() -> None:
    found = find_overlaps([problem("m", TOM), problem("m", "Who?"), problem("m", TOM.lower())], [problem("t", TOM)])
    assert [overlap is not None for overlap in found] == [True, False, True]
    assert find_overlaps([], [problem("t", TOM)]) == []
    assert find_overlaps([problem("m", TOM)], []) == [None]


def test_without_numbers_near_is_by_words_and_short_ones_are_the_same_or_not() -> None:
    long = "Which of the rivers that flow through the old city is the longest of them all in summer?"
    training = [problem("t/1", long), problem("t/2", "Is ice cold?")]
    measured = [long.replace("summer", "winter"), "is ICE cold", "Is ice warm?", "Which of the old rivers is it?"]
    found = find_overlaps([problem(f"m/{n}", question) for n, question in enumerate(measured)], training)
    assert [overlap and overlap.kind for overlap in found] == ["near", "exact", None, None]


def count_comparisons(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that gets a value for each comparison from now on."""
    compared: list[float] = []

    def counted(*both: Sequence[str]) -> float:
        compared.append(similarity(*both))
        return compared[-1]

    monkeypatch.setattr(overlap, "similarity", counted)
    return compared


def test_few_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand by two thousand of one form, with numbers of their own: hardly any has to be looked at."""
    made = [
        f"Person {n} walks {n % 97} miles on every day of the week. How far is that in {n % 89} weeks?"
        for n in range(2000)
    ]
    compared = count_comparisons(monkeypatch)
    training = [problem(f"t/{n}", question.replace("Person", "Walker")) for n, question in enumerate(made)]
    found = find_overlaps([problem(f"m/{n}", question) for n, question in enumerate(made)], training)
    assert [overlap and overlap.other_id for overlap in found] == [f"t/{n}" for n in range(2000)]
    assert len(compared) <= 3 * 2000


def test_no_more_than_some_are_compared_where_all_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions without numbers and of one form: only what is rare in them leads to others."""
    names = [f"{a}{b}" for a in "bcdfghjklm" for b in "aeiouxyzqv"]
    monkeypatch.setattr(overlap, "_COMMON", 10)
    compared = count_comparisons(monkeypatch)
    made = [f"Why does {name} walk to school on every day of the week but Sunday?" for name in names]
    found = find_overlaps(
        [problem(f"m/{n}", q) for n, q in enumerate(made)], [problem("t", made[0].replace("but", "and"))]
    )
    assert found[0] is not None
    assert len(compared) <= 10


@given(st.text(), st.text("ab 12.,-", max_size=60))
def test_any_text_can_be_compared(first: str, second: str) -> None:
    for question in (first, second):
        (found,) = find_overlaps([problem("m", question)], [problem("t", question)])
        assert found is not None
        assert (found.kind, found.similarity) == ("exact", 1)


# --- planted copies --------------------------------------------------------------------------------------------------

NAMES = ["Zorblax", "Quimby", "Thessaly", "Ottoline"]
FILLERS = ["really", "some", "nice", "then", "about", "there", "also", "quite"]


def restyled(question: str, draw: random.Random) -> str:
    """Another case, other punctuation, other white space."""
    text = draw.choice([str.upper, str.lower, str.swapcase])(question)
    text = re.sub(r"(?<=[^\W\d])[,.;:!?]", lambda _: draw.choice(["", " ;", "!"]), text)
    return re.sub(" ", lambda _: draw.choice([" ", "  ", "\n", "\t"]), text)


def renamed(question: str, draw: random.Random) -> str:
    """Every name is another: what has a capital within a sentence."""
    found = sorted(set(re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", question)))
    for number, name in enumerate(draw.sample(found, min(4, len(found)))):
        question = re.sub(rf"\b{name}\b", NAMES[number], question)
    return question


def reworded(question: str, draw: random.Random, share: float = 0.15) -> str:
    """Up to so many words dropped, put in or replaced; the numbers stay."""
    tokens = question.split()
    for _ in range(draw.randint(1, max(1, int(share * len(tokens))))):
        free = [n for n, token in enumerate(tokens) if not any(word[0].isdigit() for word in words(token))]
        place = draw.choice(free)
        match draw.choice(["drop", "insert", "replace"]):
            case "drop":
                del tokens[place]
            case "insert":
                tokens.insert(place, draw.choice(FILLERS))
            case _:
                tokens[place] = draw.choice(FILLERS)
    return " ".join(tokens)


def reordered(question: str, draw: random.Random) -> str:
    """Two sentences change places."""
    sentences = re.split(r"(?<=[.?!])\s+", question)
    if len(sentences) > 1:
        a, b = draw.sample(range(len(sentences)), 2)
        sentences[a], sentences[b] = sentences[b], sentences[a]
    return " ".join(sentences)


def all_at_once(question: str, draw: random.Random) -> str:
    return restyled(reworded(reordered(renamed(question, draw), draw), draw, 0.1), draw)


PLANTS: list[Callable[[str, random.Random], str]] = [restyled, renamed, reworded, reordered, all_at_once]


def recall(training: Sequence[Problem], plant: Callable[[str, random.Random], str], count: int) -> float:
    """Plant edited copies of training problems among what measures; return the share that is found."""
    draw = random.Random(plant.__name__)
    chosen = draw.sample(list(training), count)
    measured = [replace(p, id=f"copy/{p.id}", question=plant(p.question, draw)) for p in chosen]
    found = find_overlaps(measured, training)
    return (
        sum(overlap is not None and overlap.other_id == p.id for overlap, p in zip(found, chosen, strict=True)) / count
    )


# All edits at once are beyond what is promised; most are found nevertheless.
WANTED = [(plant, 0.85 if plant is all_at_once else 0.95) for plant in PLANTS]
Plant = Callable[[str, random.Random], str]


@pytest.mark.parametrize(("plant", "wanted"), WANTED)
def test_planted_copies_of_generated_problems_are_found(plant: Plant, wanted: float) -> None:
    assert recall(read("stories", split="train", count=600), plant, 300) >= wanted


@pytest.mark.parametrize(("plant", "wanted"), WANTED)
def test_planted_copies_of_gsm8k_are_found(plant: Plant, wanted: float, data: object) -> None:
    assert recall(read("gsm8k", split="train"), plant, 1000) >= wanted


def share(measured: Sequence[Problem], training: Sequence[Problem]) -> float:
    return sum(overlap is not None for overlap in find_overlaps(measured, training)) / len(measured)


@pytest.mark.parametrize("source", ["word_problems", "stories"])
def test_generated_problems_of_another_split_are_no_copies(source: str) -> None:
    """Those of ``word_problems`` that are near say the same in other words: two in 400."""
    training = read(source, split="train", count=1600)
    for split in ("dev", "test"):
        assert share(read(source, split=split, count=400), training) <= 0.0075


def test_real_problems_are_no_copies_of_others(data: object) -> None:
    train = read("gsm8k", split="train")
    for measured in (read("gsm8k", split="dev"), read("svamp"), read("asdiv"), train[:700]):
        others = train[700:] if measured[0] is train[0] else train
        assert share(measured, others) <= 0.002
