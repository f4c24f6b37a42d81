"""Drawing as a stage: shards that are whole or not there, and samples that depend on what they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfstudy.generation.engine import SamplingSettings
from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings
from selfstudy.models.tokenizers import Family
from selfstudy.stages import sample as sample_module
from selfstudy.stages.base import Inputs
from selfstudy.stages.sample import Draw
from selfstudy.storage.judged import read_samples
from selfstudy.types import SILENT, Sample
from tests.stages.builders import artifact, model_folder, problem


def stage(**changes: Any) -> Draw:
    settings = {
        "sampling": SamplingSettings(temperature=1.0, max_new_tokens=8), "format": FormatSettings(),
        "compute": Compute(device="cpu", threads=1), "seed": 0, "purpose": "pairs", "round": 1,
        "split": "unlabelled", "start": 0, "count": 2,
    }  # fmt: skip
    return Draw(**{**settings, **changes})


def inputs(folder: Path, family: Family = "causal") -> Inputs:
    problems = {"unlabelled": [problem(n, solved=False) for n in range(7)], "dev": [problem(20)]}
    return {
        "model": (model_folder(folder / "model", family),),
        "problems": (artifact(folder / "problems", problems),),
    }


def run(it: Draw, given: Inputs, out: Path) -> tuple[dict[str, Any], list[Sample]]:
    out.mkdir(exist_ok=True)
    metrics = it.run(given, out, SILENT)
    return metrics, list(read_samples(artifact(out)))


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_samples_stand_in_order_and_the_facts_are_counts(family: Family, tmp_path: Path) -> None:
    metrics, samples = run(stage(start=3, count=2), inputs(tmp_path, family), tmp_path / "out")
    assert [(s.problem_id, s.index) for s in samples] == [(f"p/{n:03d}", k) for n in range(7) for k in (3, 4)]
    assert metrics["samples"] == len(samples) == 14
    assert metrics["truncated"] == sum(s.completion.finish == "length" for s in samples)
    assert metrics["tokens"] == sum(len(s.completion.token_ids) for s in samples)
    assert all(len(s.completion.token_ids) <= 8 for s in samples)


def test_whole_shards_are_kept_and_a_torn_one_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_module, "ROWS_PER_SHARD", 4)  # two problems of two samples
    given, out = inputs(tmp_path), tmp_path / "out"
    wanted = run(stage(), given, out)
    names = [path.name for path in sorted(out.iterdir())]
    assert names == [f"part-{n:05d}.jsonl" for n in range(4)]
    bytes_of = {name: (out / name).read_bytes() for name in names}
    kept = (out / names[0]).stat().st_ino
    (out / names[2]).unlink()
    (out / f".{names[2]}.writing").write_text("torn")
    assert run(stage(), given, out) == wanted
    assert {name: (out / name).read_bytes() for name in names} == bytes_of
    assert (out / names[0]).stat().st_ino == kept


@pytest.mark.parametrize("change", [{"purpose": "labels"}, {"round": 2}, {"seed": 1}])
def test_purpose_round_and_seed_each_draw_anew(change: dict[str, Any], tmp_path: Path) -> None:
    given = inputs(tmp_path)
    _, before = run(stage(), given, tmp_path / "a")
    _, after = run(stage(**change), given, tmp_path / "b")
    assert [s.completion for s in before] != [s.completion for s in after]


def test_a_sample_is_the_same_in_whatever_block_it_is_drawn(tmp_path: Path) -> None:
    """So that raising n adds samples to those there are."""
    given = inputs(tmp_path)
    _, both = run(stage(count=4), given, tmp_path / "both")
    _, first = run(stage(count=2), given, tmp_path / "first")
    _, second = run(stage(start=2, count=2), given, tmp_path / "second")
    assert {(s.problem_id, s.index): s.completion for s in both} == {
        (s.problem_id, s.index): s.completion for s in (*first, *second)
    }


def test_greedy_samples_are_alike(tmp_path: Path) -> None:
    greedy = stage(sampling=SamplingSettings(temperature=0.0, max_new_tokens=8), count=3)
    _, samples = run(greedy, inputs(tmp_path), tmp_path / "out")
    by_problem: dict[str, set[str]] = {}
    for found in samples:
        by_problem.setdefault(found.problem_id, set()).add(found.completion.text)
    assert all(len(texts) == 1 for texts in by_problem.values())
