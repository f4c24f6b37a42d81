"""Everything that the report says of a run, read from its folder and its artifacts; nothing there is ever imported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from selfstudy.errors import ModelError, SelfstudyError, StorageError
from selfstudy.evaluation.metrics import Interval, proportion
from selfstudy.models.format import bind, read_format
from selfstudy.models.load import family, load_config, load_tokenizer
from selfstudy.models.vocabulary import token_texts
from selfstudy.report.draws import TRAINING, DrawFacts, find_draws, read_draw
from selfstudy.report.headline import Change, changes
from selfstudy.report.results import PlannedStep, Results, read_results
from selfstudy.report.rounds import rounds
from selfstudy.report.solutions import Browser, Shelf, choose
from selfstudy.report.state import State, read_state
from selfstudy.report.training import TRAINED, Training, read_training
from selfstudy.selection.similarity import TokenSet, jaccard, token_set
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.records import read_records
from selfstudy.types import Example, Problem, count_shown


@dataclass(frozen=True)
class PlanRow:
    """One step of the plan and what it cost.

    Attributes:
        name: Of the step.
        part: Whether it is a part of another step.
        state: ``done``, ``begun``, ``to do`` or ``damaged``.
        artifact: Name of the artifact's folder.
        seconds: Of the attempt that finished it.
        tokens: Drawn, or learnt from.
        flops: Floating-point operations, by the ledger's estimate.
    """

    name: str
    part: bool
    state: str
    artifact: str
    seconds: float | None = None
    tokens: int | None = None
    flops: int | None = None


@dataclass(frozen=True)
class LabelFacts:
    """The pseudo-labels of one step.

    Attributes:
        name: Of the step.
        round: Of self-training.
        metrics: What the stage counted.
        near_gold: Mean similarity of a problem's labels with its worked solution; None where there are none.
    """

    name: str
    round: int
    metrics: Mapping[str, Any]
    near_gold: Interval | None


@dataclass(frozen=True)
class Asked:
    """A question that measures and is asked elsewhere too.

    Attributes:
        split: That it measures in.
        asked_in: ``training`` or ``dev``.
        kind: ``exact`` or ``near``.
        similarity: The share of trigrams.
        question: As it measures.
        other: As it is asked elsewhere; its id where the question is not of this run, as in pretraining.
    """

    split: str
    asked_in: str
    kind: str
    similarity: float
    question: str
    other: str


@dataclass(frozen=True)
class Facts:
    """What the report says of a run.

    Attributes:
        name: Of the run.
        state: How it stands.
        results: Its steps and scores.
        config_text: Its resolved config, as it was saved.
        seed: The run's.
        changes: What was gained, split by split.
        draws: The draws that were learned from.
        labels: The pseudo-labels.
        trainings: Those that have begun.
        plan: Its steps, with their cost.
        environments: Versions and machines that made the artifacts.
        problems: How many, by split.
        overlaps: What is measured and asked elsewhere too; None where that was not compared.
        browser: Data of the browser of solutions.
        notes: What could not be read, and what to do.
    """

    name: str
    state: State
    results: Results
    config_text: str
    seed: int
    changes: Sequence[Change]
    draws: Sequence[DrawFacts]
    labels: Sequence[LabelFacts]
    trainings: Sequence[Training]
    plan: Sequence[PlanRow]
    environments: Sequence[Mapping[str, str]]
    problems: Mapping[str, int]
    overlaps: Sequence[Asked] | None
    browser: Browser
    notes: Sequence[str]

    @property
    def tokens(self) -> int:
        """Return the tokens of all steps."""
        return sum(row.tokens or 0 for row in self.plan)


def gather(run: Path) -> Facts:
    """Read a run's folder.

    Raises:
        StorageError: Its plan cannot be read; anything else that cannot is noted.
    """
    results = read_results(run, strict=False)
    notes = [step.damage for step in results.steps if step.damage]
    done = count_shown(step for step in results.steps if step.artifact is not None)
    state = read_state(run, done, count_shown(results.steps))
    config_text = ""
    with _noting(notes):
        config_text = (run / "config.yaml").read_text(encoding="utf-8")
    if config_text and not results.settings:
        notes.append(f"{run / 'config.yaml'} holds no settings; run again to write it anew")
    seed = found if isinstance(found := results.settings.get("seed"), int) else 0
    gained: list[Change] = []
    with _noting(notes):
        gained = changes(results, seed)
    trainings = []
    for step in results.steps:
        with _noting(notes):
            if training := read_training(step, results):
                trainings.append(training)
    reader = _Reader(results, seed, notes)
    draws, labels = reader.draws(), reader.labels()
    return Facts(
        run.name,
        state,
        results,
        config_text,
        seed,
        gained,
        draws,
        labels,
        trainings,
        [_plan_row(step) for step in results.steps],
        _environments(results),
        {split: len(problems) for split, problems in reader.problems.items()},
        reader.overlaps(),
        reader.browser(),
        notes,
    )


@contextmanager
def _noting(notes: list[str]) -> Iterator[None]:
    """Go on where something cannot be read, and note what and why."""
    try:
        yield
    except (SelfstudyError, OSError, yaml.YAMLError) as error:
        if str(error) not in notes:
            notes.append(str(error))


class _Reader:
    """Reads problems, samples and what was made of them, each file once."""

    def __init__(self, results: Results, seed: int, notes: list[str]) -> None:
        self._results, self._notes = results, notes
        self.problems: dict[str, list[Problem]] = {}
        with _noting(notes):
            self._read_problems()
        self._solved = {problem.id: problem for problem in self.problems.get("labelled", ())}
        self._gold: dict[str, TokenSet] = {}
        self._vocabulary: list[bytes] | None = None
        with _noting(notes):
            self._read_tokenizer()
        drawn = find_draws(results)
        splits = {draw.split for draw in drawn}
        self._shown = {split: those for split, those in self.problems.items() if split in splits}
        self._drawn = [draw for draw in drawn if draw.split in self.problems]
        self._shelf = Shelf(choose(self._shown, seed))

    def _read_problems(self) -> None:
        step = self._results.step("problems")
        if step is not None and step.artifact is not None:
            found = {path.stem: path for path in sorted(step.artifact.path.glob("*.jsonl"))}
            order = sorted(found, key=lambda split: (split != TRAINING, split != "test", split))
            for split in order:
                self.problems[split] = list(read_records(found[split], Problem))

    def _read_tokenizer(self) -> None:
        """Learn from any trained model what tokens say, and how its tokenizer writes the worked solutions."""
        models = (step.artifact for step in self._results.steps if step.kind in TRAINED and step.artifact)
        folder = next((model.path for model in models), None)
        if folder is None:
            return
        try:
            tokenizer = load_tokenizer(folder)
            format = bind(read_format(folder), tokenizer, family(load_config(folder)))
            self._vocabulary = token_texts(tokenizer)
        except ModelError as error:
            what = "what the calculator wrote and the overlap with worked solutions are not shown"
            raise ModelError(f"{error}; {what}") from None
        self._gold = {name: token_set(format.gold(problem)) for name, problem in self._solved.items()}

    def overlaps(self) -> list[Asked] | None:
        """Read what was found to be asked twice."""
        step = self._results.step("overlap")
        if step is None or step.artifact is None:
            return None
        asked = {problem.id: problem.question for problems in self.problems.values() for problem in problems}
        path = step.artifact.path / "overlap.jsonl"
        with _noting(self._notes):
            try:
                rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
                return [
                    Asked(
                        row["split"],
                        row["asked_in"],
                        row["kind"],
                        row["similarity"],
                        asked.get(row["id"], row["id"]),
                        asked.get(row["other_id"], row["other_id"]),
                    )
                    for row in rows
                ]
            except (ValueError, KeyError, TypeError) as error:
                again = f"delete {path.parent} and run again to make it anew"
                raise StorageError(f"{path} cannot be read ({error!r}); {again}") from None
        return None

    def draws(self) -> list[DrawFacts]:
        """Read all samples."""
        read = []
        for draw in self._drawn:
            with _noting(self._notes):
                ids = [problem.id for problem in self.problems[draw.split]]
                facts, kept = read_draw(draw, ids, self._gold, self._shelf.chosen[draw.split])
                self._shelf.add_draw(draw, kept)
                read += [facts] if facts else []
        return read

    def labels(self) -> list[LabelFacts]:
        """Read pairs and pseudo-labels."""
        read = []
        for step in self._results.steps:
            if step.artifact is not None and step.kind in ("pairs", "labels"):
                with _noting(self._notes):
                    if step.kind == "pairs":
                        self._shelf.add_pairs(step)
                    else:
                        read.append(self._labels(step, step.artifact))
        return read

    def _labels(self, step: PlannedStep, artifact: Artifact) -> LabelFacts:
        labels = list(read_records(artifact.path / "labels.jsonl", Example))
        self._shelf.add_labels(step, labels)
        near: dict[str, list[float]] = {}
        for label in labels:
            gold = self._gold.get(label.problem_id)
            if gold is not None:
                near.setdefault(label.problem_id, []).append(jaccard(token_set(label.completion), gold))
        near_gold = proportion([fmean(found) for found in near.values()]) if near else None
        return LabelFacts(step.name, rounds(self._results.steps)[step.name], artifact.metrics(), near_gold)

    def browser(self) -> Browser:
        """Write the browser's data, once everything else is read."""
        solutions = {name: problem.solution or "" for name, problem in self._solved.items()}
        return self._shelf.browser(self._shown, solutions, self._results.chosen, self._vocabulary)


def _plan_row(step: PlannedStep) -> PlanRow:
    part = "part_of" in step.about
    if step.artifact is None:
        state = "damaged" if step.damage else "begun" if step.in_progress else "to do"
        return PlanRow(step.name, part, state, step.artifact_name)
    manifest = step.artifact.manifest()
    metrics, seconds = manifest["metrics"], manifest["environment"]["seconds"]
    return PlanRow(step.name, part, "done", step.artifact_name, seconds, metrics.get("tokens"), metrics.get("flops"))


_EACH_ITS_OWN = ("seconds", "finished", "peak_memory")


def _environments(results: Results) -> list[dict[str, str]]:
    """Return the machines and versions that made the artifacts, each once, in the order of the plan."""
    found: list[dict[str, str]] = []
    for step in results.steps:
        if step.artifact is not None:
            told = step.artifact.manifest()["environment"]
            environment = {name: str(value) for name, value in told.items() if name not in _EACH_ITS_OWN}
            if environment not in found:
                found.append(environment)
    return found
