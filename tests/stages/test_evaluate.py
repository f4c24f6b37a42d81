"""Scores against a count by brute force over samples and verdicts."""

from __future__ import annotations

import itertools
import json
import random
from fractions import Fraction
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from selfstudy.errors import StorageError
from selfstudy.selection.similarity import jaccard, token_set
from selfstudy.stages.base import Inputs
from selfstudy.stages.evaluate import Evaluate, score_problem
from selfstudy.types import SILENT, Sample, Verdict
from tests.stages.builders import artifact, problem, sample, verdict

N, K = 9, 5
OUTCOMES = ("right", "wrong", "unparsed")


def drawn(seed: int, per_problem: int) -> tuple[list[Sample], list[Verdict]]:
    """Draw texts of a few words, so that some are near-duplicates, and give each text one outcome."""
    draw = random.Random(seed)
    samples, verdicts = [], []
    for number in range(N):
        for index in range(per_problem):
            text = f"{number} " + " ".join(draw.choices(["ab", "cd", "ef", "gh"], k=3))
            outcome = OUTCOMES[sum(map(ord, text)) % 3]
            answer = None if outcome == "unparsed" else "7" if outcome == "right" else text[-2:]
            samples.append(sample(f"p/{number:03d}", index, text, finish="length" if draw.random() < 0.3 else "stop"))
            verdicts.append(verdict(f"p/{number:03d}", index, outcome, answer))
    return samples, verdicts


def inputs(folder: Path, seed: int, *, sampled: bool = True) -> tuple[Inputs, Any, Any]:
    greedy, many = drawn(seed, 1), drawn(seed + 100, K)
    given = {
        "problems": (artifact(folder / "problems", {"test": [problem(n) for n in range(N)]}),),
        "greedy": (artifact(folder / "greedy", {"part-00000": greedy[0]}),),
        "greedy_verdicts": (artifact(folder / "greedy_verdicts", {"verdicts": greedy[1]}),),
    }
    if sampled:  # in two shards, as if drawn in two pieces
        half = 4 * K
        parts = {"part-00000": many[0][:half], "part-00001": many[0][half:]}
        given |= {
            "samples": (artifact(folder / "samples", parts),),
            "verdicts": (artifact(folder / "verdicts", {"verdicts": many[1]}),),
        }
    return given, greedy, many


def run(given: Inputs, out: Path, ks: tuple[int, ...] = (1, 2, K, 50)) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    out.mkdir()
    metrics = Evaluate(split="test", ks=ks).run(given, out, SILENT)
    return metrics, json.loads((out / "problems.json").read_text())


@pytest.mark.parametrize("seed", range(6))
def test_equals_a_count_by_brute_force(seed: int, tmp_path: Path) -> None:
    given, (greedy, greedy_verdicts), (samples, verdicts) = inputs(tmp_path, seed)
    metrics, rows = run(given, tmp_path / "out")

    outcomes = [v.outcome for v in greedy_verdicts]
    assert metrics["accuracy"]["value"] == outcomes.count("right") / N
    assert metrics["accuracy"]["n"] == N
    assert metrics["accuracy"]["low"] <= metrics["accuracy"]["value"] <= metrics["accuracy"]["high"]
    assert metrics["unparsed"] == outcomes.count("unparsed") / N
    assert metrics["truncated"] == sum(s.completion.finish == "length" for s in greedy) / N
    assert metrics["mean_tokens"] == pytest.approx(mean(len(s.completion.token_ids) for s in greedy))

    passed: dict[int, list[Fraction]] = {1: [], 2: [], K: []}
    distinct = []
    for number in range(N):
        mine = [v for v in verdicts if v.problem_id == f"p/{number:03d}"]
        for k, shares in passed.items():
            sets = list(itertools.combinations(mine, k))
            shares.append(Fraction(sum(any(v.outcome == "right" for v in s) for s in sets), len(sets)))
        right = {
            s.completion.text: s.completion
            for s, v in zip(samples, verdicts, strict=True)
            if v.problem_id == f"p/{number:03d}" and v.outcome == "right"
        }
        kept: list[Any] = []
        for text in sorted(right):  # the greedy deduplication of METHOD, in code-point order
            finished = [s.completion for s in samples if s.completion.text == text and s.completion.finish == "stop"]
            tokens = token_set(finished[0] if finished else right[text])
            if all(jaccard(tokens, other) <= 0.7 for other in kept):
                kept.append(tokens)
        distinct.append(len(kept))
        assert rows[number]["distinct_right"] == len(kept)
        assert (rows[number]["samples"], rows[number]["right"]) == (K, sum(v.outcome == "right" for v in mine))
    assert metrics["pass_at"].keys() == {"1", "2", str(K)}  # 50 is more than there are
    for k, shares in passed.items():
        assert metrics["pass_at"][str(k)]["value"] == pytest.approx(float(sum(shares) / N))
    assert metrics["distinct_right"]["value"] == pytest.approx(mean(distinct))
    assert metrics["maj_at"]["1"]["value"] == pytest.approx(
        mean(v.outcome == "right" for v in verdicts if v.index == 0)
    )


def test_greedy_alone(tmp_path: Path) -> None:
    metrics, rows = run(inputs(tmp_path, 0, sampled=False)[0], tmp_path / "out")
    assert metrics.keys() == {"accuracy", "unparsed", "truncated", "mean_tokens"}
    assert len(rows) == N
    assert "samples" not in rows[0]


def test_majority_by_hand() -> None:
    """7 twice, 3 twice, one without an answer: half of the leaders are right; of the first three, 7 alone leads."""
    answers = [("7", "right"), ("3", "wrong"), ("7", "right"), ("3", "wrong"), (None, "unparsed")]
    judged = [(sample("p", i, "x"), verdict("p", i, o, a)) for i, (a, o) in enumerate(answers)]
    row = score_problem("p", judged[0], judged, (3, 5))
    assert row["maj_at"] == {"3": 1.0, "5": 0.5}
    assert row["right"] == 2
    assert row["distinct_right"] == 1


@pytest.mark.parametrize("which", ["greedy", "samples"])
def test_a_problem_without_its_samples_is_refused(which: str, tmp_path: Path) -> None:
    """Never a score over fewer problems, and never a traceback about an index."""
    given, greedy, many = inputs(tmp_path, 0)
    samples, verdicts = greedy if which == "greedy" else many
    name = "greedy_verdicts" if which == "greedy" else "verdicts"
    lacking = {
        **given,
        which: (artifact(tmp_path / "less", {"part-00000": [s for s in samples if s.problem_id != "p/004"]}),),
        name: (artifact(tmp_path / "less_v", {"verdicts": [v for v in verdicts if v.problem_id != "p/004"]}),),
    }
    with pytest.raises(StorageError, match="p/004"):
        run(lacking, tmp_path / "out")
