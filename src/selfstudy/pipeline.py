"""Plans: what a recipe records, what exists of it, and running the rest in order."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfstudy.errors import ConfigError, SelfstudyError, did_you_mean
from selfstudy.evaluation.memory import watch_memory
from selfstudy.stages.base import Inputs, Stage
from selfstudy.storage.artifacts import Artifact, Store, digest_paths
from selfstudy.types import Context, count_shown


@dataclass(frozen=True)
class Leaf:
    """An input that no stage makes: data files, or a folder with a base model; it counts by content.

    Attributes:
        name: For people.
        paths: Files or folders; empty when they are still to be downloaded.
        digest: Of the contents; None when they are still to be downloaded.
    """

    name: str
    paths: tuple[Path, ...]
    digest: str | None

    @property
    def fingerprint(self) -> str | None:
        """The first 16 hex digits of the digest."""
        return self.digest[:16] if self.digest else None


@dataclass(frozen=True)
class Step:
    """One stage with its inputs; its fingerprint is a hash of kind, version, settings and the inputs' fingerprints.

    ``about`` is for reports (which model and split an evaluation is of; whether the step is only a part of another) and
    counts for nothing else.
    """

    name: str
    stage: Stage
    inputs: dict[str, tuple[Step | Leaf, ...]]
    fingerprint: str | None
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def artifact_name(self) -> str:
        """The name of the folder below ``artifacts``."""
        return f"{self.stage.kind}-{self.fingerprint or '(known after download)'}"

    def made_from(self) -> dict[str, Any]:
        """Return what the fingerprint is a hash of."""
        return {
            "kind": self.stage.kind,
            "version": self.stage.version,
            "settings": self.stage.identity(),
            "inputs": {name: [node.fingerprint for node in nodes] for name, nodes in self.inputs.items()},
        }


@dataclass
class Plan:
    """The steps of a run in order. Recipes only record; nothing is computed."""

    steps: list[Step] = field(default_factory=list)

    def add(
        self,
        name: str,
        stage: Stage,
        inputs: Mapping[str, Step | Leaf | Sequence[Step | Leaf]],
        about: Mapping[str, str] | None = None,
    ) -> Step:
        """Record a step; an input is one node or several."""
        assert all(step.name != name for step in self.steps), name
        nodes = {key: (value,) if isinstance(value, Step | Leaf) else tuple(value) for key, value in inputs.items()}
        step = Step(name, stage, nodes, None, about or {})
        if all(node.fingerprint for group in nodes.values() for node in group):
            text = json.dumps(step.made_from(), sort_keys=True, separators=(",", ":"))
            step = dataclasses.replace(step, fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16])
        self.steps.append(step)
        return step

    def step(self, name: str) -> Step:
        """Return the step of that name.

        Raises:
            ConfigError: There is none; suggests one.
        """
        found = self.find(name)
        if found is None:
            shown = (step.name for step in self.steps if "part_of" not in step.about)
            raise ConfigError(f"no step named '{name}'{did_you_mean(name, shown)}")
        return found

    def find(self, name: str) -> Step | None:
        """Return the step of that name, if there is one."""
        return next((step for step in self.steps if step.name == name), None)


def leaf(name: str, paths: tuple[Path, ...], root: Path, patterns: tuple[str, ...] = ("**/*",)) -> Leaf:
    """Make a leaf from files, and those files of folders that match; digests are cached below the run root."""
    return Leaf(name, paths, digest_paths(paths, root / "cache" / "digests.json", patterns))


def select(plan: Plan, until: str | None = None, only: str | None = None) -> list[Step]:
    """Return the steps to run: all, those up to one and its parts, or a single one with its parts.

    Raises:
        ConfigError: There is no such step, or both are given.
    """
    if until is not None and only is not None:
        raise ConfigError(f"--until {until} and --only {only} exclude each other; give one of them")
    name = only if until is None else until
    if name is None:
        return plan.steps
    plan.step(name)
    asked = [step for step in plan.steps if name in (step.name, step.about.get("part_of"))]
    return plan.steps[: plan.steps.index(asked[-1]) + 1] if until is not None else asked


def run(
    steps: Sequence[Step], store: Store, ctx: Context, *, on_done: Callable[[Step, Artifact], None] | None = None
) -> dict[str, Artifact]:
    """Carry out ``steps`` in order, skipping what exists; return the artifacts by step name.

    Raises:
        ConfigError: A step needs another that is neither selected nor there.
        StorageError: An artifact is damaged, or another process is making it. What a step reads is checked in full
            before it does, once.
    """
    done: dict[str, Artifact] = {}
    whole: set[Path] = set()  # artifacts whose files have been read, or were made just now
    number, of = 0, count_shown(steps)
    for step in steps:
        number += "part_of" not in step.about
        found = store.find(step.stage.kind, _known(step))
        where = {
            "step": step.name,
            "part": "part_of" in step.about,
            "kind": step.stage.kind,
            "number": number,
            "of": of,
            "artifact": step.artifact_name,
        }
        if found is None:
            ctx.emit("step_started", {**where, "resumed": store.unfinished(step.stage.kind, _known(step)) is not None})
            inputs = inputs_of(step, store)
            for artifact in (artifact for artifacts in inputs.values() for artifact in artifacts):
                if artifact.kind != "leaf" and artifact.path not in whole:
                    store.check(artifact)
                    whole.add(artifact.path)
            found, seconds = _make(step, inputs, store, ctx)
            whole.add(found.path)
            ctx.emit("step_finished", {**where, "seconds": round(seconds, 2), "metrics": found.metrics()})
        else:
            ctx.emit("step_skipped", {**where, "metrics": found.metrics()})
        done[step.name] = found
        if on_done is not None:
            on_done(step, found)
    return done


def inputs_of(step: Step, store: Store) -> dict[str, tuple[Artifact, ...]]:
    """Find a step's inputs.

    Raises:
        ConfigError: One does not exist yet; names the step that makes it.
    """
    return {name: tuple(_input(step, node, store) for node in nodes) for name, nodes in step.inputs.items()}


def _input(step: Step, node: Step | Leaf, store: Store) -> Artifact:
    if isinstance(node, Leaf):
        return Artifact("leaf", node.fingerprint or "", node.paths[0] if node.paths else Path())
    found = store.find(node.stage.kind, _known(node))
    if found is None:
        raise ConfigError(
            f"step '{step.name}' needs '{node.name}', which does not exist yet; run with --until {step.name}"
        )
    return found


def _make(step: Step, inputs: Inputs, store: Store, ctx: Context) -> tuple[Artifact, float]:
    kind, fingerprint = step.stage.kind, _known(step)
    with store.building(kind, fingerprint) as out:
        # By another process between our look and our lock, or by a killed one that had all but renamed it.
        published = store.find(kind, fingerprint)
        if published is not None:
            out.rmdir()  # what we hold is a new, empty folder: theirs has its final name
            return published, 0.0
        started, peak_memory = time.monotonic(), watch_memory()
        try:
            metrics = step.stage.run(inputs, out, ctx)
        except SelfstudyError as error:
            raise type(error)(f"step {step.name}: {error}") from error
        seconds = time.monotonic() - started
        made = store.publish(
            kind, fingerprint, recipe=step.made_from(), metrics=metrics, seconds=seconds, peak_memory=peak_memory()
        )
        return made, seconds


def _known(step: Step) -> str:
    if step.fingerprint is None:
        missing = ", ".join(sorted({node.name for node in _leaves(step) if node.fingerprint is None}))
        raise ConfigError(f"step '{step.name}' depends on {missing}, which is not on this machine yet")
    return step.fingerprint


def _leaves(step: Step) -> Iterator[Leaf]:
    for nodes in step.inputs.values():
        for node in nodes:
            if isinstance(node, Leaf):
                yield node
            else:
                yield from _leaves(node)
