"""The guard alone: a model of one number (its step), and a solver that follows a script."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from selfstudy.errors import StorageError
from selfstudy.generation.engine import Request
from selfstudy.stages import guard as guard_module
from selfstudy.stages.guard import Guard, GuardSettings
from selfstudy.types import SILENT, Context, Problem, Sample, Verdict
from tests.stages.builders import completion, problem


def by_its_word(samples: Iterable[tuple[Problem, Sample]]) -> Iterator[Verdict]:
    """Right if the text says so."""
    for asked, sample in samples:
        outcome = "right" if sample.completion.text.startswith("right") else "wrong"
        yield Verdict(asked.id, sample.index, outcome, None, "")  # type: ignore[arg-type]


class OneNumber(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = torch.nn.Parameter(torch.zeros(1))


class Scripted:
    """Solves, at a step, as many problems as the script says; every solution twice, which counts once."""

    def __init__(self, model: OneNumber, script: Mapping[int, int]) -> None:
        self.model, self.script, self.seen = model, script, []

    def requests(self, problems: Sequence[Problem], indices: range) -> list[Request]:
        return [Request(p.id, (0,), indices) for p in problems]

    @property
    def halved(self) -> int:
        return 0

    def flops(self, requests: Sequence[Request], samples: Sequence[Sample]) -> int:
        return len(samples)

    def draw(self, requests: Sequence[Request]) -> list[Sample]:
        step = round(self.model.step.item())
        self.seen.append(step)
        return [
            Sample(request.problem_id, index, completion("right" if number < self.script[step] else "no"), -1.0)
            for number, request in enumerate(requests)
            for index in request.indices
        ]


def watch(
    folder: Path, script: Mapping[int, int], *, every: int = 2, patience: int = 2, ctx: Context = SILENT
) -> Guard:
    model = OneNumber()
    settings = GuardSettings(every=every, patience=patience, samples=2)
    problems = [problem(number) for number in range(10)]
    return Guard(settings, model, Scripted(model, script), problems, by_its_word, folder, ctx)


def follow(guard: Guard, steps: int) -> int:
    """Take steps as the trainer does and return how many were taken."""
    guard.score(0)
    done = 0
    for step in range(1, steps + 1):
        with torch.no_grad():
            guard.model.step.fill_(step)
        done = step
        if guard.look(step):
            break
    guard.score(done)
    return done


def test_the_best_step_is_used_and_not_the_last(tmp_path: Path) -> None:
    guard = watch(tmp_path, {0: 3, 2: 4, 4: 9, 6: 5, 7: 6})
    assert follow(guard, 7) == 7
    assert guard.solver.seen == [0, 2, 4, 6, 7]  # the last step is looked at, whatever the interval
    decision = guard.decide()
    assert guard.model.step.item() == 4
    assert (decision["used_step"], decision["last_step"], decision["fell_back"]) == (4, 7, False)
    assert (decision["sft_yield"], decision["used_yield"]) == (0.3, 0.9)
    assert "0.900" in decision["reason"]
    assert {path.stem for path in (tmp_path / "best").iterdir()} == {"step-000000", "step-000004"}


def test_a_destroyed_policy_is_dropped_for_the_model_it_came_from(tmp_path: Path) -> None:
    guard = watch(tmp_path, {0: 5, 2: 0, 4: 0, 6: 0, 8: 0}, patience=9)
    follow(guard, 8)
    decision = guard.decide()
    assert guard.model.step.item() == 0
    assert decision["fell_back"] is True
    assert "the SFT model is kept" in decision["reason"]


@pytest.mark.parametrize(
    ("solved", "fell_back"),
    [
        (6, False),
        (5, False),  # as good as it was: chance would drop half of such policies
        (3, True),  # -2 of 10 problems: mean -0.2, standard error sqrt(0.16 * 10 / 9 / 10) = 0.133
        (0, True),
    ],
)
def test_a_policy_is_dropped_that_is_worse_by_more_than_chance(solved: int, fell_back: bool, tmp_path: Path) -> None:
    guard = watch(tmp_path, {0: 5, 2: solved})
    follow(guard, 2)
    decision = guard.decide()
    assert decision["fell_back"] is fell_back
    assert guard.model.step.item() == decision["used_step"] == (0 if fell_back else 2)
    assert decision["used_yield"] == (5 if fell_back else solved) / 10
    if solved == 3:
        assert "standard error of the difference 0.133" in decision["reason"]


def test_one_problem_of_many_is_within_chance(tmp_path: Path) -> None:
    """-1 twice and +1 once, of 10: mean -0.1, standard error sqrt((2 * 0.81 + 1.21 + 7 * 0.01) / 9 / 10) = 0.18."""
    guard = watch(tmp_path, {0: 5, 2: 5})
    follow(guard, 2)
    looks = json.loads((tmp_path / "guard.json").read_text())
    looks[1] |= {"yield": 0.4, "distinct": [0, 0, 1, 1, 1, 1, 0, 0, 0, 0]}
    (tmp_path / "guard.json").write_text(json.dumps(looks))
    decision = guard.decide()
    assert not decision["fell_back"]
    assert "standard error of the difference 0.180" in decision["reason"]


def test_of_equal_yields_the_one_with_more_right_is_best_and_then_the_earliest() -> None:
    looks = [{"step": step, "yield": 0.6, "accuracy": share} for step, share in enumerate([0.9, 0.5, 0.7, 0.7])]
    assert guard_module._best(looks)["step"] == 2
    assert guard_module._best(looks[:1])["step"] == 0


@pytest.mark.parametrize(
    ("yields", "patience", "stopped"),
    [
        ([5, 3, 3, 9, 9], 2, 2),  # two looks below, and no third
        ([5, 3, 5, 3, 3], 2, 4),  # as good as SFT is not below; it must be looks in a row
        ([5, 3, 3, 3, 3], 3, 3),
        ([5, 3, 9, 9, 9], 1, 1),
        ([5, 5, 5, 5, 5], 1, 4),  # never below: all steps
        ([5, 6, 3, 5, 3], 2, 4),
    ],
)
def test_stops_after_that_many_looks_in_a_row_below_sft(
    yields: list[int], patience: int, stopped: int, tmp_path: Path
) -> None:
    guard = watch(tmp_path, dict(enumerate(yields)), every=1, patience=patience)
    assert follow(guard, 4) == stopped


def test_counts_distinct_right_solutions(tmp_path: Path) -> None:
    """Two equal solutions of each of 3 in 10 problems: yield 0.3, and 0.3 of the samples right."""
    guard = watch(tmp_path, {0: 3})
    guard.score(0)
    assert json.loads((tmp_path / "guard.json").read_text()) == [
        {"accuracy": 0.3, "distinct": [1] * 3 + [0] * 7, "flops": 20, "step": 0, "yield": 0.3}
    ]


@pytest.mark.parametrize("dies_at", ["weights", "guard.json", "event", "unlink"])
def test_killed_while_it_looks(dies_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was on disk when it died, a second attempt sees and decides the same, and repeats no look it kept."""
    script = {0: 3, 2: 6, 4: 9, 5: 1}
    straight = watch(tmp_path / "straight", script)
    (tmp_path / "straight").mkdir()
    follow(straight, 5)
    wanted = straight.decide()

    class Killed(BaseException):
        pass

    folder = tmp_path / "killed"
    folder.mkdir()
    first = watch(folder, script)
    with monkeypatch.context() as patch:

        def dying(place: str, original: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                if dies_at == place and round(first.model.step.item()) == 4:
                    raise Killed
                return original(*args, **kwargs)

            return call

        patch.setattr(guard_module, "save_weights", dying("weights", guard_module.save_weights))
        patch.setattr(guard_module, "write_json", dying("guard.json", guard_module.write_json))
        first.ctx = Context(emit=dying("event", lambda *_: None), progress=SILENT.progress)
        patch.setattr(Path, "unlink", dying("unlink", Path.unlink))
        with pytest.raises(Killed):
            follow(first, 5)
    second = watch(folder, script)
    follow(second, 5)
    kept = dies_at in ("event", "unlink")
    assert second.solver.seen == ([5] if kept else [4, 5])
    assert second.decide() == wanted
    assert second.model.step.item() == 4
    assert (folder / "guard.json").read_bytes() == (tmp_path / "straight" / "guard.json").read_bytes()


@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone", "looks"])
def test_weights_that_a_disk_has_changed_are_not_used(damage: str, tmp_path: Path) -> None:
    guard = watch(tmp_path, {0: 1, 2: 5, 4: 2})
    follow(guard, 4)
    file = tmp_path / "best" / "step-000002.safetensors"
    if damage == "looks":
        file = tmp_path / "guard.json"
    data = file.read_bytes()
    file.unlink()
    if damage == "flipped":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage != "gone":
        file.write_bytes(data[: len(data) // 2])
    with pytest.raises(StorageError, match=rf"{file.name} .*; delete {tmp_path} and run again"):
        guard.decide()
