"""Preference learning as a stage: what the guard decides is what the artifact holds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from selfstudy.errors import ConfigError
from selfstudy.generation.engine import Request, SamplingSettings
from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings
from selfstudy.models.tokenizers import Family
from selfstudy.stages import preference
from selfstudy.stages.base import Inputs
from selfstudy.stages.preference import Preference, PreferenceSettings
from selfstudy.storage.records import write_records
from selfstudy.types import SILENT, Context, Pair, Sample
from tests.stages.builders import artifact, completion, model_folder, problem, read_lines

COMPUTE = Compute(device="cpu", threads=1)

NUMBER = '''
from selfstudy.judging.verifiers import Judgement, Verifier


class Number(Verifier):
    """Right if the text states a number, whichever."""

    def verify(self, problem, text):
        right = "####" in text and any(map(str.isdigit, text))
        return Judgement("right" if right else "wrong", "", "")
'''


def stage(
    *,
    guard: Any = None,
    lr: float = 1e-3,
    steps: int = 4,
    verifier: str = "number.py",
    round: int = 1,
    lora: Any = None,
) -> Preference:
    settings = {
        "learning_rate": lr, "batch_size": 4, "max_steps": steps, "warmup_ratio": 0, "max_grad_norm": 1e9,
        "guard": guard or {"every": 1, "problems": 4, "samples": 4, "patience": 9}, "lora": lora,
    }  # fmt: skip
    return Preference(
        settings=PreferenceSettings.parse(settings, "preference"),
        sampling=SamplingSettings(temperature=1.0, max_new_tokens=12),
        verifier=verifier,  # type: ignore[arg-type]
        format=FormatSettings(),
        compute=COMPUTE,
        seed=3,
        round=round,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "number.py").write_text(NUMBER)
    return tmp_path


def pair(number: int) -> Pair:
    chosen, rejected = ((20 + number, *rest, 1) for rest in ((30, 40), (50, 60)))
    return Pair(f"p/{number:03d}", completion("8 apples", chosen), completion("9 apples", rejected), "sample", 0.2)


def inputs(folder: Path, family: Family = "causal", *, pairs: int = 8, held_out: int = 4) -> Inputs:
    """Pairs of the first problems, validation pairs of the last ones, and dev with four others."""
    problems = [problem(number) for number in range(12)]
    dev = [problem(number) for number in range(12, 16)]
    made = {
        "pairs": [pair(number) for number in range(pairs)],
        "validation": [pair(number) for number in range(12 - held_out, 12)],
    }
    return {
        "model": (model_folder(folder / "model", family),),
        "problems": (artifact(folder / "problems", {"unlabelled": problems, "dev": dev}),),
        "pairs": (artifact(folder / "pairs", made),),
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def run(it: Preference, given: Inputs, out: Path, ctx: Context = SILENT) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    return it.run(given, out, ctx)


class Scripted:
    """A solver whose number of right solutions follows a script by look; the same weights are the same look."""

    script: Sequence[int] = ()
    known: dict[str, int] = {}
    calls: list[int] = []
    asked: Sequence[Any] = ()
    starved = False

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def requests(self, problems: Sequence[Any], indices: range) -> list[Request]:
        type(self).asked = problems
        return [Request(p.id, (0,), indices) for p in problems]

    @property
    def halved(self) -> int:
        return len(self.calls) if self.starved else 0

    def flops(self, requests: Sequence[Request], samples: Sequence[Sample]) -> int:
        return len(samples)

    def draw(self, requests: Sequence[Request]) -> list[Sample]:
        state = b"".join(value.detach().numpy().tobytes() for value in self.model.state_dict().values())
        number = self.known.setdefault(hashlib.sha256(state).hexdigest(), len(self.known))
        self.calls.append(number)
        right = self.script[number]
        return [
            Sample(r.problem_id, i, completion("#### 7" if n < right else "#### 1"), -1.0)
            for n, r in enumerate(requests)
            for i in r.indices
        ]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    """Put the scripted solver in the place of the real one, with nothing remembered."""
    Scripted.known, Scripted.calls, Scripted.script = {}, [], ()
    monkeypatch.setattr(preference, "make_solver", lambda model, *_, **__: Scripted(model))
    return Scripted


def scripted_stage(**changes: Any) -> Preference:
    return stage(verifier="numeric", **changes)


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_the_weights_of_the_best_look_are_returned(family: Family, folder: Path, scripted: type[Scripted]) -> None:
    given = inputs(folder, family)
    scripted.script = (1, 2, 4, 3, 3)
    seen: dict[int, dict[str, torch.Tensor]] = {}

    class Watching(Scripted):
        def draw(self, requests: Sequence[Request]) -> list[Sample]:
            found = super().draw(requests)
            seen[self.calls[-1]] = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preference, "make_solver", lambda model, *_, **__: Watching(model))
        metrics = run(scripted_stage(), given, folder / "out")
    decision = metrics["guard"]
    assert (decision["fell_back"], decision["used_step"], decision["last_step"]) == (False, 2, 4)
    out = weights(folder / "out")
    assert all(torch.equal(value, seen[2][name]) for name, value in out.items())
    assert not all(torch.equal(value, seen[4][name]) for name, value in out.items())


@pytest.mark.parametrize("starved", [False, True])
def test_looks_that_memory_was_too_small_for_are_marked(
    starved: bool, folder: Path, scripted: type[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripted, "starved", starved)
    scripted.script = (1,) * 5
    metrics = run(scripted_stage(), inputs(folder, "causal"), folder / "out")
    assert metrics.get("degraded", False) is starved


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["weights", "lora"])
@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_a_policy_that_training_wrecks_is_replaced_by_the_sft_model(
    family: Family, lora: Any, folder: Path, scripted: type[Scripted]
) -> None:
    """A learning rate that ruins the weights, and looks that find nothing from then on."""
    scripted.script = (3, 0, 0, 0, 0)
    given = inputs(folder, family)
    metrics = run(scripted_stage(lr=3.0, lora=lora), given, folder / "out")
    assert metrics["guard"]["fell_back"] is True
    assert metrics["steps"] == 4
    assert same(weights(folder / "out"), weights(folder / "model"))
    # Without the guard the wreck is what comes out.
    assert "guard" not in run(stage(lr=3.0, guard="off", lora=lora), given, folder / "off")
    assert not same(weights(folder / "off"), weights(folder / "model"))


def test_stops_early_and_returns_the_sft_model(folder: Path, scripted: type[Scripted]) -> None:
    scripted.script = (3, 1, 1, 9, 9)
    given = inputs(folder)
    metrics = run(scripted_stage(guard={"every": 1, "problems": 4, "samples": 1, "patience": 2}), given, folder / "out")
    assert metrics["steps"] == 2
    assert metrics["stopped_early"] is True
    assert len(read_lines(folder / "out" / "train_log.jsonl")) == 2
    assert same(weights(folder / "out"), weights(folder / "model"))


def test_a_sharded_policy_has_no_guard() -> None:
    settings = {"learning_rate": 1, "batch_size": 1, "max_steps": 3, "sharding": "fsdp", "devices": 2}
    with pytest.raises(ConfigError, match="a sharded policy cannot be looked at"):
        PreferenceSettings.parse(settings, "preference")
    assert PreferenceSettings.parse(settings | {"guard": "off"}, "preference").devices == 2


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("checkpoint_every", [1, 100])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("script", [(1, 2, 4, 3, 3), (3, 2, 2, 9, 9)])
@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["weights", "lora"])
def test_killed_between_looks_repeats_none_and_changes_nothing(
    lora: Any, every: int, script: Sequence[int], checkpoint_every: int, folder: Path, scripted: type[Scripted]
) -> None:
    """With rare checkpoints, steps are taken again whose looks, and later ones, are known already."""
    scripted.script = script
    given = inputs(folder)
    it = scripted_stage(guard={"every": every, "problems": 4, "samples": 1, "patience": 2}, lora=lora)
    wanted = run(it, given, folder / "straight")
    straight_calls = list(scripted.calls)
    scripted.calls.clear()
    for death in (("train_step", 1), ("guard", 1), ("train_step", 2), ("guard", 2), ("train_step", 3), ("guard", 4)):

        def emit(event: str, fields: Mapping[str, Any], death: tuple[str, int] = death) -> None:
            if (event, fields.get("step")) == death:
                raise Killed

        with contextlib.suppress(Killed):
            run(it, given, folder / "killed", Context(emit, SILENT.progress, checkpoint_every))
    metrics = run(it, given, folder / "killed", Context(lambda *_: None, SILENT.progress, checkpoint_every))
    assert metrics == wanted
    assert scripted.calls == straight_calls
    for name in (
        "model.safetensors",
        *(["adapter.safetensors"] if lora else []),
        "guard.json",
        "train_log.jsonl",
        "reference_logps.safetensors",
    ):
        assert (folder / "killed" / name).read_bytes() == (folder / "straight" / name).read_bytes(), name


@pytest.mark.parametrize("guard", [None, "off"])
def test_without_pairs_the_sft_model_goes_on(guard: str | None, folder: Path) -> None:
    events: list[tuple[str, Any]] = []
    ctx = Context(lambda name, fields: events.append((name, fields)), SILENT.progress)
    metrics = run(stage(guard=guard), inputs(folder, pairs=0), folder / "out", ctx)
    assert metrics["pairs"] == metrics["steps"] == 0
    assert metrics["guard"]["fell_back"] is True
    assert "no pairs" in dict(events)["guard_decided"]["reason"]
    assert same(weights(folder / "out"), weights(folder / "model"))
    assert (folder / "out" / "selfstudy.json").is_file()


def test_guard_off_takes_the_fixed_steps(folder: Path) -> None:
    metrics = run(stage(guard="off", steps=3), inputs(folder, held_out=0), folder / "out")
    assert metrics["steps"] == 3
    assert "guard" not in metrics
    assert not (folder / "out" / "guard.json").exists()


@pytest.mark.parametrize("guard", ["off", {"every": 4, "problems": 4, "samples": 2}])
def test_validation_measures_the_weights_that_are_kept(guard: Any, folder: Path, scripted: type[Scripted]) -> None:
    """Where the guard falls back they are the reference's own, of which there is nothing to measure."""
    scripted.script = (3, 0)
    metrics = run(scripted_stage(guard=guard), inputs(folder), folder / "out")["validation"]
    assert metrics["pairs"] == 4
    if guard == "off":
        assert metrics["rewards/margins"] != pytest.approx(0, abs=1e-5)
        assert metrics["loss"] != pytest.approx(math.log(2), abs=1e-5)
    else:
        assert metrics == {"pairs": 4}


@pytest.mark.parametrize(("wanted", "looked_at"), [(3, 3), (4, 4), (9, 4)])
def test_the_guard_looks_at_problems_of_dev_alone(
    wanted: int, looked_at: int, folder: Path, scripted: type[Scripted]
) -> None:
    scripted.script = (1, 2)
    given = inputs(folder)
    run(scripted_stage(guard={"every": 4, "problems": wanted, "samples": 1}), given, folder / "out")
    asked = {problem.id for problem in scripted.asked}
    assert len(asked) == looked_at
    assert asked <= {f"p/{number:03d}" for number in range(12, 16)}


def test_the_last_step_is_looked_at_whatever_the_interval(folder: Path, scripted: type[Scripted]) -> None:
    scripted.script = (1, 2, 3)
    guard = {"every": 3, "problems": 4, "samples": 1}
    decision = run(scripted_stage(guard=guard), inputs(folder), folder / "out")["guard"]
    assert (decision["used_step"], decision["last_step"]) == (4, 4)
    looks = json.loads((folder / "out" / "guard.json").read_text())
    assert [look["step"] for look in looks] == [0, 3, 4]


def test_killed_behind_the_last_look_it_ends_as_if_nothing_had_been(folder: Path, scripted: type[Scripted]) -> None:
    """The look behind the last step is then known before that step is taken again, and must not stop it."""
    scripted.script = (3, 2, 2)
    it, given = scripted_stage(guard={"every": 3, "problems": 4, "samples": 1, "patience": 2}), inputs(folder)
    wanted = run(it, given, folder / "straight")

    def emit(event: str, fields: Mapping[str, Any]) -> None:
        if event == "guard_decided":
            raise Killed

    with contextlib.suppress(Killed):
        run(it, given, folder / "killed", Context(emit, SILENT.progress, 100))
    assert run(it, given, folder / "killed") == wanted
    assert wanted["stopped_early"] is False


def test_pairs_that_are_too_long_are_left_out_and_listed(folder: Path) -> None:
    given = inputs(folder)
    long = pair(2)
    long = replace(long, rejected=completion("9 apples", (22, *[50] * 9, 1)))
    write_records(given["pairs"][0].path / "pairs.jsonl", [*map(pair, (0, 1)), long, pair(3)])
    it = stage(guard="off")
    it = it.model_copy(update={"settings": it.settings.model_copy(update={"max_completion_tokens": 4})})
    metrics = run(it, given, folder / "out")
    assert (metrics["pairs"], metrics["left_out"]) == (3, 1)
    (listed,) = json.loads((folder / "out" / "left_out_of_pairs.json").read_text())
    assert (listed["problem_id"], listed["completion"]) == ("p/002", 11)


def test_looks_at_no_more_problems_than_asked(folder: Path, scripted: type[Scripted]) -> None:
    scripted.script = (1, 1)
    asked: list[int] = []

    class Counting(Scripted):
        def requests(self, problems: Sequence[Any], indices: range) -> list[Request]:
            asked.append(len(problems))
            assert len(indices) == 3
            return super().requests(problems, indices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preference, "make_solver", lambda model, *_, **__: Counting(model))
        run(scripted_stage(steps=1, guard={"every": 1, "problems": 2, "samples": 3}), inputs(folder), folder / "out")
    assert asked == [2, 2]


def test_order_and_dropout_depend_on_the_round(folder: Path) -> None:
    given = inputs(folder)
    logs = []
    for round in (1, 2):
        run(stage(guard="off", steps=2, round=round), given, folder / f"out{round}")
        logs.append(read_lines(folder / f"out{round}" / "train_log.jsonl"))
    assert logs[0] != logs[1]
