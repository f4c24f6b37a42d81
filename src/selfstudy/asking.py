"""Asking a finished model: what ``selfstudy sample``, ``evaluate`` and ``solve`` do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.markup import escape
from transformers import PreTrainedModel

from selfstudy.config import parse_yaml
from selfstudy.console import console, progress, summary
from selfstudy.errors import ConfigError, did_you_mean
from selfstudy.generation.engine import SamplingSettings
from selfstudy.generation.hooks import FAMILY as HOOKS
from selfstudy.generation.solver import Solver, load_policy, make_solver
from selfstudy.judging.answers import DEFAULT_FINDER, AnswerFinder
from selfstudy.judging.judges import check_answers, judged_by
from selfstudy.judging.verifiers import FAMILY as VERIFIERS
from selfstudy.judging.verifiers import default_verifier
from selfstudy.models.compute import Compute
from selfstudy.models.format import Format, read_format
from selfstudy.models.resolve import packaged_models
from selfstudy.plugins import PluginSpec, parse_spec
from selfstudy.problems.sources import load_source, parse_source, read_problems
from selfstudy.recipes.config import Config
from selfstudy.report.results import find_results
from selfstudy.stages.base import Metrics
from selfstudy.stages.evaluate import score_problem, summarise
from selfstudy.storage import DEFAULT_ROOT
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.atomic import replacing
from selfstudy.storage.judged import Judged
from selfstudy.storage.splits import read_split
from selfstudy.types import SILENT, Completion, Problem, Sample

_KS = (1, 5, 10, 50, 100)  # of pass@k and maj@k, as far as there are samples


@dataclass(frozen=True)
class Model:
    """A trained model and what its run knows of it; the weights are loaded when it is first asked.

    Equal questions get equal samples: a draw depends on the problem's id, the sample's index and ``seed`` alone.

    Attributes:
        folder: A plain ``transformers`` folder.
        verifier: The run's, or the numeric one.
        verifier_timeout: Seconds that it may take for a verdict, where it is one of somebody's own.
        sampling: The run's, or the defaults.
        compute: The run's, or the defaults.
        data: The run's problems; None for a bare folder.
    """

    folder: Path
    verifier: PluginSpec = field(default_factory=default_verifier)
    verifier_timeout: float = SILENT.verifier_timeout
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    compute: Compute = field(default_factory=Compute)
    data: Artifact | None = None

    def problems(self, name: str) -> list[Problem]:
        """Return one of the run's splits, such as ``test``, or the problems of a source given as YAML.

        Raises:
            SelfstudyError: Neither a split of the run nor a source.
        """
        if self.data is not None:
            for split in (name, f"transfer-{name}"):
                if (self.data.path / f"{split}.jsonl").is_file():
                    return read_split(self.data, split)
        try:
            spec = parse_source(parse_yaml(name, "problems"))
        except ValueError as error:
            if self.data is None:
                raise ConfigError(
                    f"{self.folder.name} is a model without a run, so '{name}' must be a source of problems, such as "
                    f"svamp or {{name: tabular, path: test.csv}}: {error}"
                ) from None
            splits = ", ".join(sorted(path.stem for path in self.data.path.glob("*.jsonl")))
            raise ConfigError(
                f"problems '{name}': neither a split of the run ({splits}) nor a source: {error}"
            ) from None
        problems, _ = read_problems(load_source(spec), on_bad_rows="refuse")
        return problems

    def with_verifier(self, verifier: str | Mapping[str, Any]) -> Model:
        """Return the model with another verifier than its run's: a name or more, as in a config.

        Raises:
            ConfigError: There is none of that name, or a setting is wrong; says what there is.
        """
        try:
            return replace(self, verifier=parse_spec(VERIFIERS, verifier))
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def solve(
        self, questions: Sequence[str], *, temperature: float = 0.0, calculator: bool = True, seed: int = 0
    ) -> list[Sample]:
        """Draw one solution of each question, all of them together; a temperature of 0 is greedy."""
        problems = [Problem(f"asked/{number}", question, "") for number, question in enumerate(questions)]
        return _draw(self.solver("solve", temperature=temperature, calculator=calculator, seed=seed), problems, 1)

    def sample(
        self,
        problems: Sequence[Problem],
        n: int = 1,
        *,
        temperature: float = 0.7,
        calculator: bool = True,
        seed: int = 0,
    ) -> list[Judged]:
        """Draw n samples of every problem, and judge each with the run's verifier.

        Returns:
            Samples with their verdicts, problem by problem.

        Raises:
            SelfstudyError: The verifier cannot read a problem's answer; nothing has been drawn then.
        """
        self._check(problems)
        solver = self.solver("sample", temperature=temperature, calculator=calculator, seed=seed)
        return self._judged(problems, _draw(solver, problems, n))

    def evaluate(
        self,
        problems: Sequence[Problem],
        samples: int = 0,
        *,
        temperature: float = 0.7,
        calculator: bool = True,
        seed: int = 0,
    ) -> Metrics:
        """Score the model: greedy accuracy with its interval; pass@k, maj@k and distinct right solutions by samples.

        Args:
            problems: What it is scored on.
            samples: Of every problem, besides the greedy one.
            temperature: Of those samples.
            calculator: Whether it writes results.
            seed: Of those samples.

        Raises:
            SelfstudyError: The verifier cannot read a problem's answer; nothing has been drawn then.
        """
        self._check(problems)
        solver = self.solver("greedy", temperature=0.0, calculator=calculator, seed=seed)
        greedy, drawn = self._judged(problems, _draw(solver, problems, 1)), list[Judged]()
        if samples:
            solver = self.solver("evaluate", temperature=temperature, calculator=calculator, seed=seed)
            drawn = self._judged(problems, _draw(solver, problems, samples))
        ks = sorted({*_KS, samples} - {0})
        return summarise(
            score_problem(problem.id, greedy[i], drawn[i * samples : (i + 1) * samples], ks)
            for i, problem in enumerate(problems)
        )

    def solver(self, purpose: str, *, temperature: float, calculator: bool, seed: int) -> Solver:
        """Put the model to work; two purposes never share a draw."""
        hook = self.sampling.hook if calculator else parse_spec(HOOKS, "off")
        sampling = self.sampling.model_copy(update={"temperature": temperature, "hook": hook})
        return make_solver(*self._policy, sampling, seed=seed, purpose=purpose)

    @cached_property
    def _policy(self) -> tuple[PreTrainedModel, Format]:
        return load_policy(self.folder, read_format(self.folder), self.compute)

    def _check(self, problems: Sequence[Problem]) -> None:
        with judged_by(self.verifier, self.verifier_timeout) as judge:
            check_answers(judge, problems)

    def _judged(self, problems: Sequence[Problem], samples: Sequence[Sample]) -> list[Judged]:
        by_id = {problem.id: problem for problem in problems}
        with judged_by(self.verifier, self.verifier_timeout) as judge:
            verdicts = judge((by_id[sample.problem_id], sample) for sample in samples)
            return list(zip(samples, verdicts, strict=True))


def _draw(solver: Solver, problems: Sequence[Problem], n: int) -> list[Sample]:
    requests = solver.requests(problems, range(n))
    with progress("sample", len(problems) * n) as bar:
        return solver.draw(requests, bar)


def find_model(name: str, root: Path | str = DEFAULT_ROOT) -> Model:
    """Find a model by ``RUN`` (its best one), ``RUN:STEP`` (such as ``quickstart:dpo-1``), packaged name, or folder.

    A bare name is a run's if there is one of that name; write ``./name`` for a folder that is called alike.

    Args:
        name: Of the model.
        root: Where artifacts and runs lie.

    Raises:
        ConfigError: There is none, or the run has not made it yet.
        StorageError: It is damaged.
    """
    run, _, model = name.partition(":")
    is_run = name == Path(name).name and (Path(root) / "runs" / name / "plan.json").is_file()
    bare = packaged_models().get(name, Path(name) if (Path(name) / "config.json").is_file() else None)
    if not is_run and bare is not None:
        return Model(bare)
    try:
        results = find_results(run, root)
    except ConfigError as error:
        raise ConfigError(f"{error}; nor is '{name}' a model folder, with a config.json") from None
    config = Config.parse(results.settings, str(results.folder / "config.yaml"))
    step, problems = results.step(model or "best"), results.step("problems")
    if step is None or not (step.kind == "best" or step.name in results.models):
        raise ConfigError(f"run {run} has no model '{model}'{did_you_mean(model, results.models)}")
    if step.artifact is None:
        made = [f"{run}:{known}" for known in results.models if (one := results.step(known)) and one.artifact]
        there = f" ({', '.join(made)})" if made else ""
        raise ConfigError(f"run {run} has not made '{step.name}' yet; carry it out, or name another: RUN:STEP{there}")
    data = problems.artifact if problems else None
    for artifact in (step.artifact, data):
        if artifact is not None:
            results.store.check(artifact)
    return Model(step.artifact.path, config.verifier, config.verifier_timeout, config.sampling, config.compute, data)


def _judging_by(verifier: str | None, model: Model) -> Model:
    if verifier is None:
        return model
    given = parse_yaml(verifier, "--verifier")
    try:
        return model.with_verifier(given)
    except ConfigError as error:
        raise ConfigError(f"--verifier {verifier}: {error}") from None


def sample_to_file(
    model: str,
    source: str,
    out: Path,
    *,
    n: int,
    temperature: float,
    calculator: bool,
    seed: int,
    verifier: str | None = None,
    root: Path,
) -> None:
    """Draw n samples of every problem and write them with their verdicts as JSON lines."""
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name a file in it")
    asked = _judging_by(verifier, find_model(model, root))
    problems = asked.problems(source)
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    judged = asked.sample(problems, n, temperature=temperature, calculator=calculator, seed=seed)
    questions = {problem.id: problem for problem in problems}
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for sample, verdict in judged:
            problem = questions[sample.problem_id]
            line = {
                "problem_id": problem.id,
                "index": sample.index,
                "question": problem.question,
                "answer": problem.answer,
                "completion": sample.completion.text,
                "finish": sample.completion.finish,
                "logprob": sample.logprob,
                "outcome": verdict.outcome,
                "extracted": verdict.extracted,
            }
            file.write(json.dumps(line, ensure_ascii=True) + "\n")
    right = sum(verdict.outcome == "right" for _, verdict in judged)
    console.print(f"{len(judged):,} samples of {len(problems):,} problems, {right:,} right: {escape(str(out))}")


def show_scores(
    model: str,
    source: str,
    *,
    samples: int,
    temperature: float,
    calculator: bool,
    seed: int,
    verifier: str | None = None,
    as_json: bool,
    root: Path,
) -> None:
    """Score a model on problems and print the scores."""
    asked = _judging_by(verifier, find_model(model, root))
    problems = asked.problems(source)
    metrics = asked.evaluate(problems, samples, temperature=temperature, calculator=calculator, seed=seed)
    if as_json:
        print(json.dumps(metrics, indent=1))
        return
    console.print(f"{len(problems):,} problems: {summary(metrics)}")
    for name in ("pass_at", "maj_at"):
        for k, value in metrics.get(name, {}).items():
            low, high = value["low"], value["high"]
            console.print(f"  {name.replace('_at', '')}@{k} {value['value']:.1%} [{low:.1%}, {high:.1%}]")


def show_solutions(
    model: str, question: str | None, *, calculator: bool, temperature: float, root: Path, as_json: bool = False
) -> None:
    """Print the model's solution of one question, or of those typed in until an empty line."""
    asked = find_model(model, root)
    solver = asked.solver("solve", temperature=temperature, calculator=calculator, seed=0)
    finder = _finder(asked.verifier)
    for number, text in enumerate([question] if question else _typed(silent=as_json)):
        (sample,) = solver.draw(solver.requests([Problem(f"asked/{number}", text, "")], range(1)))
        completion = sample.completion
        if as_json:
            forced = [{"start": a, "stop": b, "text": completion.text[a:b]} for a, b in forced_text(completion, solver)]
            answer = finder.find(completion.text)
            print(json.dumps({"question": text, "text": completion.text, "answer": answer, "forced": forced}))
            continue
        console.print(coloured(completion, solver), soft_wrap=True)
        console.print(f"[dim]log-probability {sample.logprob:.2f}, finished by {completion.finish}[/]")


def _finder(verifier: PluginSpec) -> AnswerFinder:
    """Return how solutions state their answer: as one of the package's verifiers says, and by #### for a user's own."""
    said = None if verifier.is_file else verifier.settings.get("finder")
    return DEFAULT_FINDER if said is None else AnswerFinder.model_validate(said)


def _typed(*, silent: bool) -> Iterator[str]:
    with suppress(EOFError):  # the end of a pipe, or Ctrl-D, ends it as an empty line does
        while text := console.input("" if silent else "[bold]question:[/] ").strip():
            yield text


def forced_text(completion: Completion, solver: Solver) -> Iterator[tuple[int, int]]:
    """Yield what a hook wrote as half-open spans of the text's characters."""
    for start, stop in completion.forced:
        before, through = (len(solver.format.decode(completion.token_ids[:end])) for end in (start, stop))
        yield before, through


def coloured(completion: Completion, solver: Solver) -> str:
    """Return the text with what the calculator wrote in colour."""
    shown, cut, text = "", 0, completion.text
    for before, through in forced_text(completion, solver):
        shown += escape(text[cut:before]) + f"[bold green]{escape(text[before:through])}[/]"
        cut = through
    return shown + escape(text[cut:])
