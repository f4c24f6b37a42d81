"""What a run made, in forms that others read: what ``selfstudy export`` does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape

from selfstudy.config import dump_yaml
from selfstudy.console import console
from selfstudy.errors import ConfigError, did_you_mean
from selfstudy.models.format import Format, bind, read_format
from selfstudy.models.load import family, load_config, load_model, load_tokenizer, save_model
from selfstudy.report.results import Results, find_results
from selfstudy.storage.artifacts import Artifact
from selfstudy.storage.atomic import publish_folder, replacing
from selfstudy.storage.records import read_records
from selfstudy.storage.splits import read_split
from selfstudy.types import Example, Pair, Problem


def export_step(run: str, step_name: str, out: Path, root: Path, *, dtype: str = "float32") -> None:
    """Write what a step made in a form that others read.

    A model becomes a folder as ``transformers`` and those who read its folders expect it, with scores and config on its
    card. Pairs (prompt, chosen, rejected) and pseudo-labels (prompt, completion) become JSON lines as TRL reads them:
    texts as the model saw them.

    Args:
        run: Its name or folder.
        step_name: A model, ``best`` among them, pairs or pseudo-labels.
        out: The folder or file.
        root: Where artifacts and runs lie.
        dtype: Of a model's weights.

    Raises:
        ConfigError: There is no such step, nothing to be had from it, or a folder would be written over.
    """
    results = find_results(run, root)
    step = results.step(step_name)
    exported = [s.name for s in results.steps if s.kind in ("pairs", "labels", "best") or s.name in results.models]
    if step is None or step_name not in exported:
        raise ConfigError(
            f"'{step_name}' is not a step that made a model, pairs or pseudo-labels{did_you_mean(step_name, exported)}"
        )
    if step.artifact is None:
        raise ConfigError(f"step '{step_name}' of run {run} has not been carried out yet; carry it out, then export it")
    results.store.check(step.artifact)
    if step.kind in ("pairs", "labels"):
        _export_records(run, results, step.artifact, out)
    else:
        name = results.chosen if step.kind == "best" and results.chosen else step_name
        scores = {split: metrics for (model, split), metrics in results.scores.items() if model == name}
        # The root is a path of this machine, which is nobody else's business.
        settings = {name: value for name, value in results.settings.items() if name != "root"}
        _export_model(step.artifact.path, out, dtype, scores, dump_yaml(settings))


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
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name a file in it")
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
