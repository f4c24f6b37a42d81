"""The browser's data: problems with their samples, pairs and pseudo-labels, as JSON that the page's script reads.

A large run is shown by a seeded sample of its problems, drawn alike from every split, until the file is large enough.

Names are short, since they are repeated: a problem has ``s`` split, ``q`` question, ``a`` answer, ``g`` worked
solution, ``t`` texts, ``d`` draws, ``p`` pairs and ``l`` labels. A text is [parts, fault]; parts are flag, text, flag,
text … as :mod:`selfstudy.report.marks` cuts them. A draw is [column, samples]; a sample [text, outcome, flags,
extracted, tokens]; a pair [step, chosen, rejected, similarity, chosen is the worked solution, held out]; a label
[step, text].
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfstudy.report.draws import TRAINING, Draw
from selfstudy.report.marks import mark
from selfstudy.report.results import PlannedStep
from selfstudy.storage.judged import Judged
from selfstudy.storage.records import read_records
from selfstudy.storage.seeding import derive
from selfstudy.types import Completion, Example, Pair, Problem

PER_SPLIT = 300  # problems
BUDGET = 12_000_000  # characters of JSON: a file that mail still takes and a phone still opens
GREEDY, TRUNCATED = 1, 2  # flags of a sample
OUTCOMES = ("right", "wrong", "unparsed")


@dataclass(frozen=True)
class Browser:
    """What the page's script reads, and how much of the run that is.

    Attributes:
        json: Without any ``<``, so that no text can end the element that it stands in.
        shown: Problems by split.
        total: Likewise, of the run.
    """

    json: str
    shown: Mapping[str, int]
    total: Mapping[str, int]

    @property
    def complete(self) -> bool:
        """Whether every problem is there."""
        return self.shown == self.total


def choose(problems: Mapping[str, Sequence[Problem]], seed: int) -> dict[str, list[str]]:
    """Rank each split's problems by a seeded hash; return the ids of those that may be shown, first ranks first."""
    return {
        split: sorted((problem.id for problem in those), key=lambda name: derive(seed, "report", name))[:PER_SPLIT]
        for split, those in problems.items()
    }


@dataclass
class Shelf:
    """Gathers what is known of the chosen problems.

    Attributes:
        chosen: Their ids by split, as ranked.
        columns: What samples stand under: draws that are learned from, and models.
        draws: (split, problem) → column → samples, and whether they are greedy.
        pairs: Problem → (step, pair, whether it is held out).
        labels: Problem → (step, completion).
    """

    chosen: Mapping[str, Sequence[str]]
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    draws: dict[tuple[str, str], dict[str, list[tuple[Judged, bool]]]] = field(default_factory=dict)
    pairs: dict[str, list[tuple[str, Pair, bool]]] = field(default_factory=dict)
    labels: dict[str, list[tuple[str, Completion]]] = field(default_factory=dict)

    def add_draw(self, draw: Draw, judged: Mapping[str, Sequence[Judged]]) -> None:
        """Take in a draw's samples; greedy ones stand first in their model's column."""
        learned = draw.split == TRAINING
        name = draw.name if learned else draw.model
        note = f"drawn by {draw.model}" if learned else "model"
        self.columns.setdefault(name, {"name": name, "note": note, "round": draw.round})
        for problem_id, samples in judged.items():
            column = self.draws.setdefault((draw.split, problem_id), {}).setdefault(name, [])
            column += [(one, draw.purpose == "greedy") for one in samples]

    def add_pairs(self, step: PlannedStep) -> None:
        """Take in the pairs of a step, those that are held out for validation too."""
        assert step.artifact is not None
        wanted = self._wanted()
        for name, held_out in (("pairs", False), ("validation", True)):
            for pair in read_records(step.artifact.path / f"{name}.jsonl", Pair):
                if pair.problem_id in wanted:
                    self.pairs.setdefault(pair.problem_id, []).append((step.name, pair, held_out))

    def add_labels(self, step: PlannedStep, labels: Iterable[Example]) -> None:
        """Take in the pseudo-labels of a step."""
        wanted = self._wanted()
        for label in labels:
            if label.problem_id in wanted:
                self.labels.setdefault(label.problem_id, []).append((step.name, label.completion))

    def _wanted(self) -> frozenset[str]:
        return frozenset(self.chosen.get(TRAINING, ()))

    def browser(
        self,
        problems: Mapping[str, Sequence[Problem]],
        solutions: Mapping[str, str],
        returned: str | None,
        vocabulary: Sequence[bytes] | None,
    ) -> Browser:
        """Write the data.

        Args:
            problems: By split.
            solutions: Worked solutions by problem id.
            returned: The model that is returned, if that is known.
            vocabulary: What each token says.
        """
        splits, columns, steps = list(problems), list(self.columns), self._steps()
        by_id = {split: {problem.id: problem for problem in those} for split, those in problems.items()}
        # Rank by rank, so that every split has its share of the room.
        ranks = itertools.zip_longest(*([(split, name) for name in self.chosen[split]] for split in splits))
        left, written = BUDGET, {}
        for place in filter(None, itertools.chain.from_iterable(ranks)):
            if left <= 0:
                break
            split, problem_id = place
            tree = self._problem(split, by_id[split][problem_id], columns, steps, solutions, vocabulary)
            tree["s"] = splits.index(split)
            written[place] = json.dumps(tree, ensure_ascii=True, separators=(",", ":"))
            left -= len(written[place])
        total = {split: len(those) for split, those in problems.items()}
        shown = {split: sum(place[0] == split for place in written) for split in splits}
        head = {
            "splits": [{"name": split, "total": total[split], "shown": shown[split]} for split in splits],
            "columns": list(self.columns.values()),
            "steps": steps,
            "returned": returned,
        }
        places = [(split, problem.id) for split, those in problems.items() for problem in those]
        body = ",\n".join(written[place] for place in places if place in written)
        text = f'{json.dumps(head, ensure_ascii=True)[:-1]}, "problems": [{body}]}}'
        return Browser(text.replace("<", "\\u003c"), shown, total)

    def _steps(self) -> list[str]:
        paired = {step for rows in self.pairs.values() for step, _, _ in rows}
        return sorted(paired | {step for rows in self.labels.values() for step, _ in rows})

    def _problem(
        self,
        split: str,
        problem: Problem,
        columns: Sequence[str],
        steps: Sequence[str],
        solutions: Mapping[str, str],
        vocabulary: Sequence[bytes] | None,
    ) -> dict[str, Any]:
        numbers: dict[tuple[str, tuple[tuple[int, int], ...]], int] = {}
        texts: list[Any] = []

        def text(completion: Completion) -> int:
            """Return the number of a text; samples repeat each other."""
            key = completion.text, completion.forced
            if key not in numbers:
                numbers[key] = len(texts)
                parts, fault = mark(problem.question, completion, vocabulary)
                texts.append([[*itertools.chain.from_iterable(parts)], fault])
            return numbers[key]

        learned = problem.id if split == TRAINING else ""
        return {
            "id": problem.id,
            "q": problem.question,
            "a": problem.answer,
            "g": solutions.get(problem.id, problem.solution),
            "t": texts,
            "d": [
                [columns.index(column), [_sample(one, greedy, text(one[0].completion)) for one, greedy in samples]]
                for column, samples in self.draws.get((split, problem.id), {}).items()
            ],
            "p": [
                [
                    steps.index(step),
                    text(pair.chosen),
                    text(pair.rejected),
                    round(pair.similarity, 3),
                    int(pair.chosen_from == "gold"),
                    int(held_out),
                ]
                for step, pair, held_out in self.pairs.get(learned, ())
            ],
            "l": [[steps.index(step), text(found)] for step, found in self.labels.get(learned, ())],
        }


def _sample(judged: Judged, greedy: bool, text: int) -> list[Any]:
    sample, verdict = judged
    flags = GREEDY * greedy + TRUNCATED * (sample.completion.finish == "length")
    return [text, OUTCOMES.index(verdict.outcome), flags, verdict.extracted, len(sample.completion.token_ids)]
