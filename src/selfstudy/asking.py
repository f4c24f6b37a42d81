"""Using what a run made: draw from a model, score it, ask it, export what it learned from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.markup import escape

from selfstudy.config import parse_yaml
from selfstudy.console import console, progress, summary
from selfstudy.errors import ConfigError, did_you_mean
from selfstudy.generation.engine import SamplingSettings
from selfstudy.generation.hooks import FAMILY as HOOKS
from selfstudy.generation.solver import Solver, load_solver
from selfstudy.judging.verdicts import judge
from selfstudy.judging.verifiers import default_verifier, load_verifier
from selfstudy.models.compute import Compute
from selfstudy.models.format import Format, bind, read_format
from selfstudy.models.load import family, load_config, load_tokenizer
from selfstudy.plugins import PluginSpec, parse_spec
from selfstudy.problems.sources import FAMILY, load_source, read_problems
from selfstudy.recipes.config import Config
from selfstudy.recipes.prepare import find_run
from selfstudy.report.results import read_results
from selfstudy.stages.base import read_split
from selfstudy.stages.evaluate import score_problem, summarise
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.atomic import replacing
from selfstudy.storage.judged import Judged
from selfstudy.storage.records import read_records
from selfstudy.types import Completion, Example, Pair, Problem


@dataclass(frozen=True)
class Asked:
    """A model that somebody named, with what its run knows of it.

    Attributes:
        folder: The model.
        verifier: The run's, or the numeric one.
        sampling: The run's, or the defaults.
        compute: The run's, or the defaults.
        problems: The run's problems; None for a bare folder.
    """

    folder: Path
    verifier: PluginSpec
    sampling: SamplingSettings
    compute: Compute
    problems: Artifact | None

    def solver(self, *, seed: int, purpose: str, temperature: float, calculator: bool) -> Solver:
        """Load the model, with other sampling settings than it was trained with where asked."""
        hook = self.sampling.hook if calculator else parse_spec(HOOKS, "off")
        sampling = self.sampling.model_copy(update={"temperature": temperature, "hook": hook})
        return load_solver(self.folder, read_format(self.folder), sampling, self.compute, seed=seed, purpose=purpose)


def find_model(name: str, root: Path) -> Asked:
    """Find a model by ``RUN`` (its best one), ``RUN:STEP`` (such as ``quickstart:dpo-1``) or folder.

    A bare name is a run's if there is one of that name; write ``./name`` for a folder that is called alike.

    Raises:
        ConfigError: There is none, or the run has not made it yet.
    """
    run_name, _, model = name.partition(":")
    is_run = name == Path(name).name and (root / "runs" / name / "plan.json").is_file()
    if not is_run and (Path(name) / "config.json").is_file():
        return Asked(Path(name), default_verifier(), SamplingSettings(), Compute(), None)
    folder = find_run(run_name, root)
    config = Config.parse(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")), str(folder))
    results = read_results(folder)
    step = results.step(model or "best")
    if step is None:
        raise ConfigError(f"run {run_name} has no model '{model}'{did_you_mean(model, results.models)}")
    if step.artifact is None:
        raise ConfigError(f"run {run_name} has not made '{step.name}' yet; carry it out, or name another: RUN:STEP")
    problems = results.step("problems")
    return Asked(
        step.artifact.path, config.verifier, config.sampling, config.compute, problems.artifact if problems else None
    )


def find_problems(name: str, asked: Asked) -> list[Problem]:
    """Return one of the run's splits, or the problems of a source given as YAML.

    Raises:
        SelfstudyError: Neither a split of the run nor a source.
    """
    if asked.problems is not None:
        for split in (name, f"transfer-{name}"):
            if (asked.problems.path / f"{split}.jsonl").is_file():
                return read_split(asked.problems, split)
    try:
        spec = parse_spec(FAMILY, parse_yaml(name, "problems"))
    except ValueError as error:
        splits = sorted(p.stem for p in asked.problems.path.glob("*.jsonl")) if asked.problems else []
        raise ConfigError(
            f"problems '{name}': neither a split of the run ({', '.join(splits)}) nor a source: {error}"
        ) from None
    problems, _ = read_problems(load_source(spec), on_bad_rows="refuse")
    return problems


def draw_judged(solver: Solver, problems: Sequence[Problem], n: int, verifier: PluginSpec) -> list[Judged]:
    """Draw n samples of every problem and judge them."""
    requests = solver.requests(problems, range(n))
    with progress("sample", len(problems) * n) as bar:
        samples = solver.draw(requests, bar)
    by_id = {problem.id: problem for problem in problems}
    check = load_verifier(verifier)
    return [(sample, judge(check, by_id[sample.problem_id], sample)) for sample in samples]


def sample_to_file(
    model: str, source: str, out: Path, *, n: int, temperature: float, calculator: bool, seed: int, root: Path
) -> None:
    """Draw n samples of every problem and write them with their verdicts as JSON lines."""
    asked = find_model(model, root)
    problems = find_problems(source, asked)
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    solver = asked.solver(seed=seed, purpose="sample", temperature=temperature, calculator=calculator)
    judged = draw_judged(solver, problems, n, asked.verifier)
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


def evaluate_model(
    model: str,
    source: str,
    *,
    samples: int,
    temperature: float,
    calculator: bool,
    seed: int,
    as_json: bool,
    root: Path,
) -> dict[str, Any]:
    """Score a model on problems, print the scores and return them."""
    asked = find_model(model, root)
    problems = find_problems(source, asked)
    greedy = asked.solver(seed=seed, purpose="greedy", temperature=0.0, calculator=calculator)
    judged = draw_judged(greedy, problems, 1, asked.verifier)
    drawn: list[Judged] = []
    if samples:
        sampler = asked.solver(seed=seed, purpose="evaluate", temperature=temperature, calculator=calculator)
        drawn = draw_judged(sampler, problems, samples, asked.verifier)
    ks = tuple(k for k in (1, 5, 10, 50, 100) if k <= samples)
    rows = [
        score_problem(problem.id, judged[i], drawn[i * samples : (i + 1) * samples], ks)
        for i, problem in enumerate(problems)
    ]
    metrics = summarise(rows)
    if as_json:
        print(json.dumps(metrics, indent=1))
    else:
        console.print(f"{len(problems):,} problems: {summary(metrics)}")
        for name in ("pass_at", "maj_at"):
            for k, value in metrics.get(name, {}).items():
                low, high = value["low"], value["high"]
                console.print(f"  {name.replace('_at', '')}@{k} {value['value']:.1%} [{low:.1%}, {high:.1%}]")
    return metrics


def solve_questions(model: str, question: str | None, *, calculator: bool, temperature: float, root: Path) -> None:
    """Print the model's solution of one question, or of those typed in until an empty line."""
    asked = find_model(model, root)
    solver = asked.solver(seed=0, purpose="solve", temperature=temperature, calculator=calculator)
    for number, text in enumerate([question] if question else _typed()):
        problem = Problem(f"asked/{number}", text, "")
        (sample,) = solver.draw(solver.requests([problem], range(1)))
        console.print(coloured(sample.completion, solver), soft_wrap=True)
        console.print(f"[dim]log-probability {sample.logprob:.2f}, finished by {sample.completion.finish}[/]")


def _typed() -> Iterator[str]:
    with suppress(EOFError):  # the end of a pipe, or Ctrl-D, ends it as an empty line does
        while text := console.input("[bold]question:[/] ").strip():
            yield text


def coloured(completion: Completion, solver: Solver) -> str:
    """Return the text with what the calculator wrote in colour."""
    shown, cut = "", 0
    decode = solver.format.decode
    for start, stop in completion.forced:
        before, through = len(decode(completion.token_ids[:start])), len(decode(completion.token_ids[:stop]))
        text = completion.text
        shown += escape(text[cut:before]) + f"[bold green]{escape(text[before:through])}[/]"
        cut = through
    return shown + escape(completion.text[cut:])


def export_records(run: str, step_name: str, out: Path, root: Path) -> None:
    """Write a step's pairs (prompt, chosen, rejected) or pseudo-labels (prompt, completion) as JSON lines.

    Prompt and completions are texts as the model saw them, so that TRL and others read them as they are.
    """
    results = read_results(find_run(run, root))
    step = results.step(step_name)
    if step is None or step.kind not in ("pairs", "labels"):
        known = [s.name for s in results.steps if s.kind in ("pairs", "labels")]
        raise ConfigError(
            f"'{step_name}' is not a step that made pairs or pseudo-labels{did_you_mean(step_name, known)}"
        )
    problems, model = results.step("problems"), results.step("sft")
    if not (step.artifact and problems and problems.artifact and model and model.artifact):
        raise ConfigError(f"step '{step_name}' of run {run} has not been carried out yet")
    tokenizer, folder = load_tokenizer(model.artifact.path), model.artifact.path
    format = bind(read_format(folder), tokenizer, family(load_config(folder)))
    by_id = {problem.id: problem for problem in read_split(problems.artifact, "unlabelled")}
    count = 0
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for line in _texts(step.artifact, by_id, format):
            file.write(json.dumps(line) + "\n")
            count += 1
    console.print(f"{count:,} records: {escape(str(out))}")


def _texts(artifact: Artifact, problems: Mapping[str, Problem], format: Format) -> Iterator[dict[str, str]]:
    if artifact.kind == "pairs":
        for pair in read_records(artifact.path / "pairs.jsonl", Pair):
            prompt, behind = format.texts(problems[pair.problem_id])
            yield {"prompt": prompt, "chosen": behind + pair.chosen.text, "rejected": behind + pair.rejected.text}
    else:
        for example in read_records(artifact.path / "labels.jsonl", Example):
            prompt, behind = format.texts(problems[example.problem_id])
            yield {"prompt": prompt, "completion": behind + example.completion.text}
