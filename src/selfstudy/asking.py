"""Using what a run made: draw from a model, score it, ask it, export it or what it learned from."""

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
from selfstudy.judging.answers import DEFAULT_FINDER, AnswerFinder
from selfstudy.judging.judges import judged_by
from selfstudy.judging.verifiers import default_verifier
from selfstudy.models.compute import Compute
from selfstudy.models.format import Format, bind, read_format
from selfstudy.models.load import family, load_config, load_model, load_tokenizer, save_model
from selfstudy.models.resolve import packaged_models
from selfstudy.plugins import PluginSpec, parse_spec
from selfstudy.problems.sources import FAMILY, load_source, read_problems
from selfstudy.recipes.config import Config
from selfstudy.recipes.prepare import find_run
from selfstudy.report.results import Results, read_results
from selfstudy.stages.base import read_split
from selfstudy.stages.evaluate import score_problem, summarise
from selfstudy.storage.artifacts import Artifact, Store
from selfstudy.storage.atomic import publish_folder, replacing
from selfstudy.storage.judged import Judged
from selfstudy.storage.records import read_records
from selfstudy.types import SILENT, Completion, Example, Pair, Problem


@dataclass(frozen=True)
class Asked:
    """A model that somebody named, with what its run knows of it.

    Attributes:
        folder: The model.
        verifier: The run's, or the numeric one.
        verifier_timeout: Seconds that it may take for a verdict, where it is one of somebody's own.
        sampling: The run's, or the defaults.
        compute: The run's, or the defaults.
        problems: The run's problems; None for a bare folder.
    """

    folder: Path
    verifier: PluginSpec
    verifier_timeout: float
    sampling: SamplingSettings
    compute: Compute
    problems: Artifact | None

    def solver(self, *, seed: int, purpose: str, temperature: float, calculator: bool) -> Solver:
        """Load the model, with other sampling settings than it was trained with where asked."""
        hook = self.sampling.hook if calculator else parse_spec(HOOKS, "off")
        sampling = self.sampling.model_copy(update={"temperature": temperature, "hook": hook})
        return load_solver(self.folder, read_format(self.folder), sampling, self.compute, seed=seed, purpose=purpose)


def find_model(name: str, root: Path) -> Asked:
    """Find a model by ``RUN`` (its best one), ``RUN:STEP`` (such as ``quickstart:dpo-1``), packaged name, or folder.

    A bare name is a run's if there is one of that name; write ``./name`` for a folder that is called alike.

    Raises:
        ConfigError: There is none, or the run has not made it yet.
    """
    run_name, _, model = name.partition(":")
    is_run = name == Path(name).name and (root / "runs" / name / "plan.json").is_file()
    bare = packaged_models().get(name, Path(name) if (Path(name) / "config.json").is_file() else None)
    if not is_run and bare is not None:
        return Asked(bare, default_verifier(), SILENT.verifier_timeout, SamplingSettings(), Compute(), None)
    try:
        folder = find_run(run_name, root)
    except ConfigError as error:
        raise ConfigError(f"{error}; nor is '{name}' a model folder, with a config.json") from None
    config = Config.parse(parse_yaml((folder / "config.yaml").read_text(encoding="utf-8"), str(folder)), str(folder))
    results = read_results(folder)
    step = results.step(model or "best")
    if step is None:
        raise ConfigError(f"run {run_name} has no model '{model}'{did_you_mean(model, results.models)}")
    if step.artifact is None:
        raise ConfigError(f"run {run_name} has not made '{step.name}' yet; carry it out, or name another: RUN:STEP")
    problems = results.step("problems")
    store = Store(folder.parent.parent)
    for artifact in (step.artifact, problems.artifact if problems else None):
        if artifact is not None:
            store.check(artifact)
    return Asked(
        step.artifact.path,
        config.verifier,
        config.verifier_timeout,
        config.sampling,
        config.compute,
        problems.artifact if problems else None,
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


def draw_judged(asked: Asked, solver: Solver, problems: Sequence[Problem], n: int) -> list[Judged]:
    """Draw n samples of every problem and judge them with the run's verifier."""
    requests = solver.requests(problems, range(n))
    with progress("sample", len(problems) * n) as bar:
        samples = solver.draw(requests, bar)
    by_id = {problem.id: problem for problem in problems}
    with judged_by(asked.verifier, asked.verifier_timeout) as judge:
        verdicts = judge((by_id[sample.problem_id], sample) for sample in samples)
        return list(zip(samples, verdicts, strict=True))


def sample_to_file(
    model: str, source: str, out: Path, *, n: int, temperature: float, calculator: bool, seed: int, root: Path
) -> None:
    """Draw n samples of every problem and write them with their verdicts as JSON lines."""
    asked = find_model(model, root)
    problems = find_problems(source, asked)
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    solver = asked.solver(seed=seed, purpose="sample", temperature=temperature, calculator=calculator)
    judged = draw_judged(asked, solver, problems, n)
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
    judged = draw_judged(asked, greedy, problems, 1)
    drawn: list[Judged] = []
    if samples:
        sampler = asked.solver(seed=seed, purpose="evaluate", temperature=temperature, calculator=calculator)
        drawn = draw_judged(asked, sampler, problems, samples)
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


def solve_questions(
    model: str, question: str | None, *, calculator: bool, temperature: float, root: Path, as_json: bool = False
) -> None:
    """Print the model's solution of one question, or of those typed in until an empty line."""
    asked = find_model(model, root)
    solver = asked.solver(seed=0, purpose="solve", temperature=temperature, calculator=calculator)
    finder = _finder(asked.verifier)
    for number, text in enumerate([question] if question else _typed(silent=as_json)):
        problem = Problem(f"asked/{number}", text, "")
        (sample,) = solver.draw(solver.requests([problem], range(1)))
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


def export_step(run: str, step_name: str, out: Path, root: Path, *, dtype: str = "float32") -> None:
    """Write what a step made in a form that others read.

    A model becomes a folder as ``transformers`` and those who read its folders expect it, with scores and config on its
    card. Pairs (prompt, chosen, rejected) and pseudo-labels (prompt, completion) become JSON lines as TRL reads them:
    texts as the model saw them.

    Args:
        run: Its name or folder.
        step_name: A model, ``best`` among them, pairs or pseudo-labels.
        out: The folder or file.
        root: Where runs lie.
        dtype: Of a model's weights.

    Raises:
        ConfigError: There is no such step, nothing to be had from it, or a folder would be written over.
    """
    folder = find_run(run, root)
    results = read_results(folder)
    step = results.step(step_name)
    exported = [s.name for s in results.steps if s.kind in ("pairs", "labels", "best") or s.name in results.models]
    if step is None or step_name not in exported:
        raise ConfigError(
            f"'{step_name}' is not a step that made a model, pairs or pseudo-labels{did_you_mean(step_name, exported)}"
        )
    if step.artifact is None:
        raise ConfigError(f"step '{step_name}' of run {run} has not been carried out yet; carry it out, then export it")
    Store(folder.parent.parent).check(step.artifact)
    if step.kind in ("pairs", "labels"):
        _export_records(run, results, step.artifact, out)
    else:
        name = results.chosen if step.kind == "best" and results.chosen else step_name
        scores = {split: metrics for (model, split), metrics in results.scores.items() if model == name}
        settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        del settings["root"]  # a path of this machine, which is nobody else's business
        _export_model(step.artifact.path, out, dtype, scores, yaml.safe_dump(settings, sort_keys=False))


def _export_model(model: Path, out: Path, dtype: str, scores: Mapping[str, Mapping[str, Any]], config: str) -> None:
    if out.exists():
        raise ConfigError(f"{out} is there already; name another folder, or remove it")
    loaded, tokenizer = load_model(model, dtype=dtype), load_tokenizer(model)
    card = (model / "README.md").read_text(encoding="utf-8")
    if scores:
        card += "\n## Scores\n\nOf the weights in float32.\n\n"
        card += "| problems | n | greedy accuracy, % [95% interval] |\n|---|---:|---:|\n"
    for split, metrics in scores.items():
        accuracy = metrics["accuracy"]
        value, low, high = (f"{100 * accuracy[part]:.1f}" for part in ("value", "low", "high"))
        card += f"| {split} | {accuracy['n']:,} | {value} [{low}, {high}] |\n"
    card += f"\n## How it was made\n\nWeights are in {dtype}. The run's settings:\n\n```yaml\n{config}```\n"
    with publish_folder(out) as folder:
        save_model(loaded, tokenizer, folder, {})
        bind(read_format(model), tokenizer, family(loaded)).save(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
    console.print(f"model in {dtype}: {escape(str(out))}")


def _export_records(run: str, results: Results, artifact: Artifact, out: Path) -> None:
    problems, model = results.step("problems"), results.step("sft")
    if not (problems and problems.artifact and model and model.artifact):
        raise ConfigError(f"of run {run}, what {artifact.path.name} was made from is gone; carry it out again")
    tokenizer, folder = load_tokenizer(model.artifact.path), model.artifact.path
    format = bind(read_format(folder), tokenizer, family(load_config(folder)))
    by_id = {problem.id: problem for problem in read_split(problems.artifact, "unlabelled")}
    count = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for line in _texts(artifact, by_id, format):
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
