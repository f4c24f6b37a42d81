"""What was drawn: how right, how long, how different solutions are, draw by draw, so that a collapse shows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from selfstudy.evaluation.metrics import Interval, mean_count, proportion
from selfstudy.report.results import Results
from selfstudy.report.rounds import rounds
from selfstudy.selection.similarity import TokenSet, deduplicate, jaccard, token_set
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.judged import Judged, pool

_BLOCK = re.compile(r"\[\d+:\d+\]$")  # of sample indices
TRAINING = "unlabelled"  # the split that solutions are learned from


@dataclass(frozen=True)
class Draw:
    """Solutions of one split that one model drew for one purpose, with their verdicts.

    Attributes:
        name: Of the step, or of the evaluation that it is part of.
        purpose: ``pairs``, ``labels``; ``greedy`` and ``evaluate`` for scores.
        split: Of which problems.
        model: Who drew.
        round: Of self-training.
        samples: One artifact for each block of sample indices.
        verdicts: Likewise.
    """

    name: str
    purpose: str
    split: str
    model: str
    round: int
    samples: tuple[Artifact, ...]
    verdicts: tuple[Artifact, ...]


@dataclass(frozen=True)
class DrawFacts:
    """What the samples of a draw are like; intervals are 95% intervals over problems.

    Attributes:
        draw: Which one.
        samples: How many.
        right: Share of a problem's samples that is right.
        distinct_right: Right solutions of a problem that differ from each other, out of its samples.
        alike: Mean similarity of two samples of one problem; None where each has one sample.
        near_gold: Mean similarity of a right sample with the problem's worked solution; None where there are none.
        tokens: Mean length.
        unparsed: Share of samples.
        truncated: Share of samples.
    """

    draw: Draw
    samples: int
    right: Interval
    distinct_right: Interval
    alike: Interval | None
    near_gold: Interval | None
    tokens: float
    unparsed: float
    truncated: float


def find_draws(results: Results) -> list[Draw]:
    """Return the draws whose samples and verdicts are there, in the order of the plan."""
    round_of = rounds(results.steps)
    parts: dict[tuple[str, str], list[tuple[Artifact, Artifact]]] = {}
    drawn: dict[tuple[str, str], Draw] = {}
    for step in results.steps:
        verdicts = results.step(f"{step.name}/verdicts")
        if step.kind != "samples" or step.artifact is None or verdicts is None or verdicts.artifact is None:
            continue
        settings = step.artifact.manifest()["made_from"]["settings"]
        name, (model,) = step.about.get("part_of", _BLOCK.sub("", step.name)), step.inputs["model"]
        round = settings["round"] if settings["split"] == TRAINING else round_of.get(model, 0)
        key = name, settings["purpose"]
        parts.setdefault(key, []).append((step.artifact, verdicts.artifact))
        samples, judged = zip(*parts[key], strict=True)
        drawn[key] = Draw(name, settings["purpose"], settings["split"], model, round, samples, judged)
    return list(drawn.values())


@dataclass
class Tally:
    """Adds up one draw, problem by problem."""

    right: list[float] = field(default_factory=list)
    distinct: list[int] = field(default_factory=list)
    alike: list[float] = field(default_factory=list)
    near_gold: list[float] = field(default_factory=list)
    tokens: int = 0
    unparsed: int = 0
    truncated: int = 0
    samples: int = 0
    most: int = 0  # of one problem

    def add(self, judged: Sequence[Judged], gold: TokenSet | None) -> None:
        """Count one problem's samples."""
        right = [sample.completion for sample, verdict in judged if verdict.outcome == "right"]
        self.right.append(len(right) / len(judged))
        self.distinct.append(len(deduplicate(right)))
        sets = [token_set(sample.completion) for sample, _ in judged]
        if len(sets) > 1:
            self.alike.append(fmean(jaccard(a, b) for a, b in itertools.combinations(sets, 2)))
        if right and gold is not None:
            self.near_gold.append(fmean(jaccard(token_set(completion), gold) for completion in right))
        self.samples += len(judged)
        self.most = max(self.most, len(judged))
        self.tokens += sum(len(sample.completion.token_ids) for sample, _ in judged)
        self.unparsed += sum(verdict.outcome == "unparsed" for _, verdict in judged)
        self.truncated += sum(sample.completion.finish == "length" for sample, _ in judged)

    def facts(self, draw: Draw) -> DrawFacts:
        """Average over the problems."""
        return DrawFacts(
            draw,
            self.samples,
            proportion(self.right),
            mean_count(self.distinct, self.most),
            proportion(self.alike) if self.alike else None,
            proportion(self.near_gold) if self.near_gold else None,
            self.tokens / self.samples,
            self.unparsed / self.samples,
            self.truncated / self.samples,
        )


def read_draw(
    draw: Draw, ids: Sequence[str], gold: Mapping[str, TokenSet], keep: Iterable[str]
) -> tuple[DrawFacts | None, dict[str, list[Judged]]]:
    """Read a draw once: what it is like, and the samples of a few problems.

    Args:
        draw: Which one.
        ids: The problems of its split, in order.
        gold: Tokens of worked solutions, by problem id.
        keep: Problems whose samples are returned.

    Returns:
        The facts, for draws that are learned from (scores tell those of the others); and the samples.

    Raises:
        StorageError: Samples and verdicts do not match, or cannot be read.
    """
    wanted, kept, tally = frozenset(keep), {}, Tally()
    for problem_id, judged in pool(ids, draw.samples, draw.verdicts):
        if judged and draw.split == TRAINING:
            tally.add(judged, gold.get(problem_id))
        if judged and problem_id in wanted:
            kept[problem_id] = judged
    return (tally.facts(draw) if tally.samples else None), kept
