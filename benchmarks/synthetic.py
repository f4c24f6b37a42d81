"""Runs made up in seconds: a real plan and real bookkeeping, but models that never learnt and samples written by rule.

Problems, verdicts, pairs, pseudo-labels and scores come from the real stages. A sample is a problem's worked solution,
or that with another wording, a wrong step, another answer, no answer or no end; later rounds get more of them right.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfstudy.console import Events
from selfstudy.judging.answers import ensure_answer_line
from selfstudy.judging.notation import find_annotations
from selfstudy.models.format import Format, bind
from selfstudy.models.load import family, load_config, load_tokenizer
from selfstudy.models.prompts import encode_completion
from selfstudy.pipeline import Step, inputs_of
from selfstudy.recipes.prepare import prepare
from selfstudy.stages.base import Inputs, one
from selfstudy.stages.preference import Preference
from selfstudy.stages.sample import Draw
from selfstudy.stages.sft import Sft
from selfstudy.storage.artifacts import Store
from selfstudy.storage.atomic import write_json
from selfstudy.storage.records import read_records, write_records
from selfstudy.storage.seeding import derive
from selfstudy.storage.splits import read_split
from selfstudy.types import SILENT, Completion, Problem, Sample

Edit = Callable[[Problem], Problem]


def make_run(
    root: Path, overrides: Sequence[str] = (), *, until: str | None = None, edit: Edit | None = None, said: str = ""
) -> Path:
    """Make up a run of the quickstart and return its folder.

    Args:
        root: Where artifacts and runs lie.
        overrides: Of the quickstart's settings.
        until: The step that is left in progress; all are done if left out.
        edit: Changes problems.
        said: Stands at the beginning of every sample.
    """
    prepared = prepare("quickstart", [*overrides, f"root={root}"], run_name="made")
    prepared.write()
    events = Events(prepared.folder, quiet=True)
    events.emit(
        "run_started", {"config": "quickstart", "overrides": list(overrides), "steps": len(prepared.plan.steps)}
    )
    for step in prepared.plan.steps:
        events.emit("step_started", {"step": step.name})
        if not _make(step, prepared.store, edit, said, unfinished=step.name == until):
            break
        events.emit("step_finished", {"step": step.name})
    else:
        events.emit("run_finished", {})
    events.close()
    return prepared.folder


def _make(step: Step, store: Store, edit: Edit | None, said: str, *, unfinished: bool) -> bool:
    """Make one artifact; leave it in progress where it is to be ``unfinished``."""
    kind, fingerprint = step.stage.kind, step.fingerprint or ""
    if store.find(kind, fingerprint):
        return True
    inputs = inputs_of(step, store)
    with store.building(kind, fingerprint) as out:
        match step.stage:
            case Draw() as stage:
                metrics = _draw(stage, inputs, out, said)
            case Sft() | Preference() as stage:
                metrics = _learn(stage, inputs, out)
            case stage:
                metrics = stage.run(inputs, out, SILENT)
        if kind == "problems" and edit is not None:
            for path in out.glob("*.jsonl"):
                write_records(path, [edit(problem) for problem in read_records(path, Problem)])
        if not unfinished:
            store.publish(kind, fingerprint, recipe=step.made_from(), metrics=metrics, seconds=1.5)
    return not unfinished


def _learn(stage: Sft | Preference, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Take over the model without its weights, and write a log as training does."""
    for file in one(inputs, "model").path.iterdir():
        if file.suffix == ".json" and file.name not in ("manifest.json", "guard.json"):
            shutil.copyfile(file, out / file.name)
    steps = stage.settings.max_steps or 300
    preference = isinstance(stage, Preference)
    write_records(out / "train_log.jsonl", _log(steps, preference))
    metrics: dict[str, Any] = {"steps": steps, "tokens": 100 * steps, "flops": 10**10 * steps}
    if not preference:
        return metrics | {"examples": 1, "pseudo_labels": len(inputs.get("pseudo", ())), "left_out": 0, "loss": 0.3}
    used = steps // 2 if stage.round > 1 else 0
    looks = [{"step": s, "yield": 1 + 0.1 * (s == used), "accuracy": 0.5} for s in sorted({0, steps // 2, steps})]
    write_json(out / "guard.json", looks)
    reason = f"step {used} yields 1.100 distinct right solutions a problem, SFT 1.000"
    if not used:
        reason = "no look beat the SFT model's 1.100 distinct right solutions a problem; the SFT model is kept"
    decision = {"used_step": used, "fell_back": not used, "last_step": steps, "reason": reason}
    return metrics | {"pairs": 1, "guard": decision}


def _log(steps: int, preference: bool) -> Iterator[Mapping[str, float]]:
    for step in range(1, steps + 1):
        record: dict[str, float] = {"step": step, "loss": 0.3 + math.exp(-step / 50)}
        if preference:
            chosen, rejected = 0.002 * step, -0.004 * step
            record |= {"rewards/chosen": chosen, "rewards/rejected": rejected, "rewards/margins": chosen - rejected}
            record |= {"rewards/accuracies": 0.7, "logps/chosen": -20 - step / 50, "logps/rejected": -23 - step / 20}
        yield record


def _draw(stage: Draw, inputs: Inputs, out: Path, said: str) -> dict[str, Any]:
    """Write samples: right more often in later rounds, and of models that learnt pseudo-labels."""
    problems = one(inputs, "problems")
    folder = one(inputs, "model").path
    tokenizer = load_tokenizer(folder)
    format = bind(stage.format, tokenizer, family(load_config(folder)))
    solved = {problem.id: problem for problem in read_split(problems, "labelled")}
    spelt: dict[str, tuple[int, ...]] = {}
    labels = one(inputs, "model").metrics().get("pseudo_labels", 0)
    skill = 0.35 + 0.1 * stage.round + 0.2 * labels

    def samples() -> Iterator[Sample]:
        for problem in read_split(problems, stage.split):
            for index in range(stage.start, stage.start + stage.count):
                draw = random.Random(derive(stage.seed, stage.purpose, stage.round, folder.name, problem.id, index))
                solution = solved.get(problem.id, problem).solution or f"It is {problem.answer}."
                text = said + ensure_answer_line(solution, problem.answer)
                finish = "stop"
                if draw.random() > skill:
                    text, finish = _spoilt(text, draw)
                elif draw.random() < 0.3:
                    text = text.replace("\n", f"\n{draw.choice(['So ', 'Then ', 'Now '])}", 1)
                completion = _completion(format.notation.rewrite(text), finish, format, spelt)
                yield Sample(problem.id, index, completion, -10 * draw.random())

    count = write_records(out / "part-00000.jsonl", samples())
    return {"samples": count, "tokens": 60 * count, "flops": 10**6 * count, "truncated": 0}


def _spoilt(text: str, draw: random.Random) -> tuple[str, str]:
    """Return a wrong solution and how it ended."""
    steps = text.rpartition("\n#### ")[0]
    other = str(draw.randint(1, 99))
    match draw.randrange(8):
        case 0:
            return steps, "stop"
        case 1:
            return steps, "length"
        case 2 | 3 if found := find_annotations(steps):
            return f"{steps[: found[-1].stop]}{other} of them.\n#### {other}", "stop"
        case _:
            return f"{steps}\n#### {other}", "stop"


def _completion(text: str, finish: str, format: Format, spelt: dict[str, tuple[int, ...]]) -> Completion:
    """Spell a text in tokens; the results of its annotations are the calculator's."""
    cuts = [place for one in find_annotations(text) for place in (text.index("=", one.start) + 1, one.stop)]
    lines = format.notation.newline == "\n"
    anchor = (
        "\n" if lines else "x"
    )  # what a part follows: a tokenizer that writes on one line takes a newline for a space
    ids: list[int] = []
    forced = []
    for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(text)], strict=True)):
        part = text[start:stop]
        if (key := f"{number > 0}{part}") not in spelt:
            spelt[key] = encode_completion(part, format.tokenizer, anchor if number else "x")[:-1]
        if number % 2:
            forced.append((len(ids), len(ids) + len(spelt[key])))
        ids += spelt[key]
    ended = [format.tokenizer.eos_token_id] if finish == "stop" else []
    said = text if lines else format.decode(ids)  # where a part begins, such a tokenizer may say a space more
    return Completion(said, (*ids, *ended), tuple(forced), finish)  # type: ignore[arg-type]
