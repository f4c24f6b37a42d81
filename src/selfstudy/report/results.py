"""The results of a run: every model's scores on every split, read from the plan and the artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from selfstudy.config import parse_yaml
from selfstudy.errors import ConfigError, StorageError
from selfstudy.storage import DEFAULT_ROOT
from selfstudy.storage.artifacts import Artifact, Store


@dataclass(frozen=True)
class PlannedStep:
    """One line of a run's ``plan.json`` with its artifact, where that exists.

    Attributes:
        artifact_name: Of the folder, whether it is there or not.
        inputs: Names of steps, and of what no step makes.
        unfinished: What an interrupted or running attempt has left so far, if anything.
        damage: What is wrong with the artifact, and what to do; then it counts as missing.
    """

    name: str
    kind: str
    about: Mapping[str, str]
    inputs: Mapping[str, Sequence[str]]
    artifact_name: str
    artifact: Artifact | None
    unfinished: Path | None = None
    damage: str | None = None

    @property
    def in_progress(self) -> bool:
        """Whether there is something to continue from."""
        return self.unfinished is not None


@dataclass(frozen=True)
class Results:
    """What is known of a run so far.

    Attributes:
        folder: The run's own.
        steps: All steps in order.
        scores: Metrics of evaluations by (model, split).
        chosen: The model that is best on dev; None until all are scored there.
        settings: Its resolved config, as it was saved.
    """

    folder: Path
    steps: tuple[PlannedStep, ...]
    scores: Mapping[tuple[str, str], Mapping[str, Any]]
    chosen: str | None
    settings: Mapping[str, Any]

    @property
    def store(self) -> Store:
        """Return the artifacts of the root that the run lies in."""
        return store_of(self.folder)

    @property
    def models(self) -> list[str]:
        """Return the models in the order in which they are made."""
        return list(dict.fromkeys(step.about["model"] for step in self.steps if "model" in step.about))

    @property
    def splits(self) -> list[str]:
        """Return the splits in the order in which they are scored."""
        return list(dict.fromkeys(step.about["split"] for step in self.steps if "split" in step.about))

    @property
    def cost(self) -> tuple[float, int]:
        """Return the seconds of all steps, as long as they took to finish, and their floating-point operations."""
        made = [step.artifact for step in self.steps if step.artifact is not None]
        seconds = sum(artifact.manifest()["environment"]["seconds"] for artifact in made)
        return seconds, sum(artifact.metrics().get("flops", 0) for artifact in made)

    @property
    def price_per_hour(self) -> float | None:
        """Return what an hour of the machine costs, where the config says so."""
        found = self.settings.get("price_per_hour")
        return found if isinstance(found, int | float) else None

    @property
    def price(self) -> float | None:
        """Return what the seconds of all steps cost, in whatever money the hour's price is in."""
        return None if self.price_per_hour is None else self.cost[0] / 3600 * self.price_per_hour

    @property
    def peak_memory(self) -> int | None:
        """Return the bytes that the hungriest step held; None where no step's are known."""
        environments = [step.artifact.manifest()["environment"] for step in self.steps if step.artifact is not None]
        return max((found for one in environments if (found := one.get("peak_memory"))), default=None)

    def step(self, name: str) -> PlannedStep | None:
        """Return a step by name."""
        return next((step for step in self.steps if step.name == name), None)

    def rows(self, model: str, split: str) -> dict[str, Mapping[str, Any]]:
        """Read how each problem of a split that a model is scored on went, by problem id.

        Raises:
            StorageError: It cannot be read.
        """
        folder = next(
            step.artifact.path
            for step in self.steps
            if step.artifact is not None and (step.about.get("model"), step.about.get("split")) == (model, split)
        )
        path = folder / "problems.json"
        try:
            return {row["problem_id"]: row for row in json.loads(path.read_text(encoding="utf-8"))}
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise StorageError(
                f"{path} cannot be read ({error!r}); delete {folder} and run again to make it anew"
            ) from None


def find_run(name: str, root: Path | str = DEFAULT_ROOT) -> Path:
    """Return a run's folder by name or path.

    Raises:
        ConfigError: There is none; lists those there are.
    """
    runs = Path(root) / "runs"
    for folder in (Path(name).resolve(), runs / name):
        if (folder / "plan.json").is_file():
            return folder
    known = sorted(path.parent.name for path in runs.glob("*/plan.json"))
    raise ConfigError(
        f"no run '{name}' below {runs}; there are: {', '.join(known) or 'none'}; --root names another folder"
    )


def store_of(run: Path) -> Store:
    """Return the artifacts of the root that a run's folder lies in."""
    return Store(run.parent.parent)


def find_results(run: str, root: Path | str = DEFAULT_ROOT) -> Results:
    """Read the results of a run so far, finished or not, by its name or folder.

    Args:
        run: The run.
        root: Where artifacts and runs lie.

    Raises:
        ConfigError: There is no such run; lists those there are.
        StorageError: Its plan, its config or an artifact is damaged.
    """
    return read_results(find_run(run, root))


def read_results(run: Path, *, strict: bool = True) -> Results:
    """Read a run's folder; artifacts that are missing count as still to do.

    Args:
        run: The folder.
        strict: Whether a damaged artifact or config raises; else its step says what is wrong with it.

    Raises:
        StorageError: The plan cannot be read, or an artifact or the config is damaged.
    """
    store = store_of(run)
    steps = tuple(_planned(line, store, strict) for line in read_plan(run))
    scores = {
        (step.about["model"], step.about["split"]): step.artifact.metrics()
        for step in steps
        if step.artifact is not None and "split" in step.about
    }
    best = next((step.artifact for step in steps if step.kind == "best"), None)
    chosen = best.metrics()["chosen"] if best else None
    return Results(run, steps, scores, chosen, _settings(run / "config.yaml", strict))


def _settings(config: Path, strict: bool) -> dict[str, Any]:
    try:
        tree = parse_yaml(config.read_text(encoding="utf-8"), str(config)) if config.is_file() else {}
        if not isinstance(tree, dict):
            raise TypeError("no mapping of settings")
    except (OSError, ValueError, TypeError, ConfigError) as error:
        if strict:
            raise StorageError(f"{config}: cannot be read ({error!r:.200}); run again to write it anew") from None
        return {}
    return tree


def read_plan(run: Path) -> list[dict[str, Any]]:
    """Read the steps of a run's plan, a line each.

    Raises:
        StorageError: It is missing or damaged.
    """
    path = run / "plan.json"
    try:
        lines = json.loads(path.read_text(encoding="utf-8"))
        for line in lines:
            texts = (line["name"], line["kind"], line["artifact"], line["fingerprint"] or "")
            if not all(isinstance(text, str) for text in texts) or not isinstance(line["about"], dict):
                raise TypeError("a step is not as it was written")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StorageError(f"{path}: cannot be read ({error!r:.200}); run again to write it anew") from None
    return list(lines)


def _planned(line: Mapping[str, Any], store: Store, strict: bool) -> PlannedStep:
    name, kind, fingerprint = line["name"], line["kind"], line["fingerprint"]
    found, unfinished, damage = None, None, None
    if fingerprint:
        try:
            found = store.find(kind, fingerprint)
        except StorageError as error:
            if strict:
                raise
            damage = str(error)
        unfinished = None if found or damage else store.unfinished(kind, fingerprint)
    return PlannedStep(name, kind, line["about"], line["inputs"], line["artifact"], found, unfinished, damage)


def results_table(results: Results) -> Group:
    """Lay out one row a model: greedy accuracy with its interval on every split; on test, what samples show too.

    Transfer sets have a table of their own, so that neither is wider than a terminal, where numbers would be cropped.
    """
    transfer = [split for split in results.splits if split.startswith("transfer-")]
    tables = [_table(results, [split for split in results.splits if split not in transfer], samples=True)]
    if transfer:
        tables.append(_table(results, transfer, samples=False))
    notes = [f"guard: {', '.join(guarded)}"] if (guarded := _guarded(results)) else []
    notes += [
        f"asked in {where} too, in the same words or nearly: {', '.join(of)}" for where, of in _overlapping(results)
    ]
    seconds, flops = results.cost
    if flops:
        notes.append(f"cost: {seconds:,.0f} seconds, {flops:.2g} floating-point operations by estimate")
    if results.price is not None:
        notes.append(f"price: {results.price:,.2f}, at {results.price_per_hour:g} an hour")
    if results.peak_memory is not None:
        notes.append(f"peak memory: {results.peak_memory / 1e9:,.2f} GB")
    if results.chosen:
        sampled = any("pass_at" in scores for scores in results.scores.values())
        distinct = " · distinct: right solutions a problem" if sampled else ""
        notes.insert(0, f"→ best on dev, the model returned{distinct}")
    parts = [part for table in tables for part in (table, "")]
    return Group(*parts, *map(Text, notes))


def _guarded(results: Results) -> list[str]:
    """Say which weights of each preference learning the guard let through."""
    said = []
    for step in results.steps:
        guard = step.artifact.metrics().get("guard") if step.kind == "preference" and step.artifact else None
        if guard is not None:
            said.append(f"{step.name} is {'' if guard['fell_back'] else 'the policy after '}{used_weights(guard)}")
    return said


def used_weights(guard: Mapping[str, Any]) -> str:
    """Say which weights of a preference learning the guard let through."""
    return "the SFT model" if guard["fell_back"] else f"step {guard['used_step']}"


def _overlapping(results: Results) -> Iterator[tuple[str, list[str]]]:
    """Yield training and dev with how much of each split is asked there too, where any of it is."""
    step = results.step("overlap")
    found = step.artifact.metrics() if step and step.artifact else {"splits": {}}
    splits = found["splits"]
    taught = {name: count["exact"] + count["near"] for name, count in splits.items()}
    for where, counts in (("training", taught), ("dev", found.get("in_dev", {}))):
        said = [
            f"{both} of {splits[name]['n']:,} in {name.removeprefix('transfer-')}"
            for name, both in counts.items()
            if both
        ]
        if said:
            yield where, said


def _table(results: Results, splits: Sequence[str], *, samples: bool) -> Table:
    title = "Greedy accuracy in % [95% interval]" if samples else "On transfer sets"
    table = Table(title=f"{title}\n", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("model", no_wrap=True)
    for split in splits:
        table.add_column(Text(_heading(results, split)), justify="right", no_wrap=True)
    ks = sorted({k for scores in results.scores.values() for k in scores.get("pass_at", {})}, key=int) * samples
    shown = "test" if any(split == "test" for _, split in results.scores) else "dev"
    for k in ks:
        table.add_column(f"pass@{k}\n{shown}", justify="right", overflow="fold")
    if ks:
        table.add_column(f"distinct\n{shown}", justify="right", overflow="fold")
    for model in results.models:
        row = [("→ " if model == results.chosen else "  ") + model]
        row += [_accuracy(results.scores.get((model, split))) for split in splits]
        scores = results.scores.get((model, shown), {})
        row += [_percent(scores.get("pass_at", {}).get(k)) for k in ks]
        if ks:
            distinct = scores.get("distinct_right")
            row.append("·" if distinct is None else f"{distinct['value']:.2f}")
        table.add_row(*row, style="bold" if model == results.chosen else None)
    return table


def _heading(results: Results, split: str) -> str:
    counts = {scores["accuracy"]["n"] for (_, s), scores in results.scores.items() if s == split}
    return f"{split.removeprefix('transfer-')}" + (f"\nn = {counts.pop():,}" if counts else "")


def _accuracy(scores: Mapping[str, Any] | None) -> str:
    if scores is None:
        return "·"
    accuracy = scores["accuracy"]
    return f"{100 * accuracy['value']:.1f} [{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]"


def _percent(interval: Mapping[str, float] | None) -> str:
    return "·" if interval is None else f"{100 * interval['value']:.1f}"
