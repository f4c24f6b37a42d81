"""From a config's name to a plan that can be run: resolve the model, digest the data, lay out the recipe."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from selfstudy.config import differing, dump_yaml, load_tree, parse_yaml
from selfstudy.errors import ConfigError, ModelError
from selfstudy.judging.judges import judged_by
from selfstudy.models.checks import check
from selfstudy.models.format import bind
from selfstudy.models.load import family, load_config, load_tokenizer, model_files
from selfstudy.models.presets import build, find_preset
from selfstudy.models.resolve import Resolved, packaged_models, resolve
from selfstudy.pipeline import Leaf, Plan, leaf
from selfstudy.plugins import PluginSpec
from selfstudy.problems.files import AbsentError
from selfstudy.problems.sources import load_source
from selfstudy.recipes.bench import Bench
from selfstudy.recipes.config import Config
from selfstudy.stages.base import Sizes
from selfstudy.storage.artifacts import Store, locked, refuse_links
from selfstudy.storage.atomic import write_bytes, write_json
from selfstudy.types import SILENT

_RUN = re.compile(r"\w[\w .,+=@-]*")


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to go.

    Attributes:
        name: Of the run's folder.
        config: Its settings, ``auto`` values resolved.
        plan: Its steps.
        store: The artifacts of the run root.
        model_bytes: Of one copy of the weights; 0 where the model is still to be downloaded.
        missing: What is not on this machine yet, in words.
        warnings: What is allowed and hardly meant, in words.
    """

    name: str
    config: Config
    plan: Plan
    store: Store
    model_bytes: int
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The run's own folder: config, plan, events, results."""
        return self.store.root / "runs" / self.name

    def sizes(self) -> Sizes:
        """Read the problems, into a folder that is thrown away, and weigh the model: what a forecast needs."""
        step = self.plan.step("problems")
        with tempfile.TemporaryDirectory() as scratch:
            counts = step.stage.run({}, Path(scratch), SILENT)["problems"] if step.fingerprint is not None else {}
        return Sizes(counts, self.model_bytes)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the run's folder and keep other processes out of it.

        Raises:
            StorageError: One carries out the run, and which; or there is a link in the folder.
        """
        refuse_links(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / ".lock", f"run {self.name}"):
            yield

    def write(self) -> None:
        """Write the resolved config and the plan into the run's folder.

        Raises:
            ConfigError: A run of that name is finished, and was made with other settings.
            StorageError: There is a link in the folder.
        """
        refuse_links(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        tree = self.config.model_dump(mode="json")
        self._refuse_to_replace(tree)
        write_bytes(self.folder / "config.yaml", dump_yaml(tree).encode())
        write_json(self.folder / "plan.json", describe(self.plan))

    def _refuse_to_replace(self, tree: Mapping[str, Any]) -> None:
        plan, config = self.folder / "plan.json", self.folder / "config.yaml"
        if not (plan.is_file() and config.is_file()):
            return
        try:
            made = [str(step["artifact"]) for step in json.loads(plan.read_text(encoding="utf-8"))]
            before = dict(parse_yaml(config.read_text(encoding="utf-8"), str(config)))
        except (ValueError, LookupError, TypeError, ConfigError):
            return  # damaged: running again writes them anew
        if made == [step.artifact_name for step in self.plan.steps] or not all(
            (self.store.folder / artifact).is_dir() for artifact in made
        ):
            return
        changed = differing(before, tree)
        shown = ", ".join(f"{path}: {json.dumps(a)} → {json.dumps(b)}" for path, (a, b) in changed.items())
        raise ConfigError(
            f"run {self.name} is finished, and was made with other settings or data"
            f"{f' ({shown})' if shown else ''}; give this one a name of its own with --name, or remove {self.folder}"
        )


def prepare(
    name: str, overrides: Sequence[str] = (), *, run_name: str | None = None, download: bool = True
) -> Prepared:
    """Read a config, resolve what it names and lay out its recipe.

    Args:
        name: A packaged config, or the path of a YAML file.
        overrides: ``a.b=value`` each.
        run_name: Names the run's folder; otherwise the config's name, with a short hash where there are overrides.
        download: Whether models and data may be fetched; a plan that is only looked at does without.

    Raises:
        SelfstudyError: A setting, a data file or the model cannot be used.
    """
    called = _run_name(name, overrides) if run_name is None else run_name
    if not _RUN.fullmatch(called):
        raise ConfigError(
            f"'{called}' cannot be a run's name: it names a folder; begin with a letter or digit, and use "
            "these, spaces and . , + = @ - _ alone" + ("; give it another with --name" if run_name is None else "")
        )
    config = Config.parse(load_tree(name, overrides), name)
    if config.verifier.is_file:
        with judged_by(config.verifier, config.verifier_timeout):
            pass  # it can be loaded: a run that finds out later has begun in vain
    root = Path(config.root)
    missing: list[str] = []
    data = _data("data", config.problems.sources(), root, download, missing)
    corpus = _data("corpus", [part.source for part in config.mixture], root, download, missing)
    found = resolve(config.model, download=download)
    if found.kind == "hub" and found.path is None:
        missing.append(f"model {config.model}, which the run downloads")
    bench = Bench(config, data, corpus, _base_model(config, found, root))
    recipe = importlib.import_module(f"selfstudy.recipes.{config.recipe}")
    plan: Plan = recipe.plan(config, bench)
    size = _weigh(config, found)
    warnings = _warnings(config, found, plan)
    return Prepared(called, config, plan, Store(root), size, tuple(missing), warnings)


def _data(name: str, sources: Sequence[PluginSpec], root: Path, download: bool, missing: list[str]) -> Leaf:
    """Return the files of sources by content; what is not here and may not be fetched is noted as missing."""
    files: list[Path] = []
    absent: list[str] = []
    for source in map(load_source, sources):
        try:
            if download:
                source.download()
            files.extend(source.files())
        except AbsentError as error:
            if download:
                raise
            absent.append(str(error))
    missing += absent
    # Each source's files, also where two read the same one: which source reads which is part of what is read.
    return Leaf(name, (), None) if absent else leaf(name, tuple(files), root)


def _base_model(config: Config, found: Resolved, root: Path) -> Leaf | None:
    """Return the base model's folder by content; check first that it can do what the run asks of it."""
    if found.kind == "preset":
        return None
    if found.path is None:
        return Leaf(config.model, (), None)
    architecture, tokenizer = load_config(found.path), load_tokenizer(found.path)
    try:
        check(architecture, tokenizer, chat=config.prompt.chat, max_new_tokens=config.sampling.max_new_tokens)
        bind(config.prompt, tokenizer, family(architecture))
    except ModelError as error:
        raise ModelError(f"model {config.model}: {error}") from error
    return leaf(config.model, (found.path,), root, model_files(found.path))


def _warnings(config: Config, found: Resolved, plan: Plan) -> tuple[str, ...]:
    if found.kind == "preset" and any(step.stage.kind == "labels" for step in plan.steps):
        pretrained = ", ".join([*packaged_models(), "a folder", "a Hub id"])
        return (
            f"model {config.model} is an architecture without weights: it learns to read from the solved problems "
            "alone, and what self-training adds is then mostly longer training; name a pretrained model instead "
            f"({pretrained})",
        )
    return ()


def _weigh(config: Config, found: Resolved) -> int:
    if found.kind == "preset":
        with torch.device("meta"):
            return 4 * int(build(find_preset(config.model), config.vocab_size, {}).num_parameters())
    return sum(file.stat().st_size for file in found.path.glob("*.safetensors")) if found.path else 0


def _run_name(name: str, overrides: Iterable[str]) -> str:
    stem = Path(name).stem
    changes = sorted(o for o in overrides if not o.startswith("root="))
    return f"{stem}-{hashlib.sha256(json.dumps(changes).encode()).hexdigest()[:6]}" if changes else stem


def describe(plan: Plan) -> list[dict[str, Any]]:
    """Return the plan as JSON: what reports and ``status`` read, without any plug-in."""
    return [
        {
            "name": step.name,
            "kind": step.stage.kind,
            "artifact": step.artifact_name,
            "fingerprint": step.fingerprint,
            "inputs": {key: [node.name for node in nodes] for key, nodes in step.inputs.items()},
            "about": dict(step.about),
        }
        for step in plan.steps
    ]
