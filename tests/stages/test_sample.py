"""Drawing as a stage: shards that are whole or not there, and samples that depend on what they are for."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import strategies as st

from selfstudy.errors import ModelError
from selfstudy.generation import hooks
from selfstudy.generation.decoder import Decoder
from selfstudy.generation.engine import Engine, SamplingSettings
from selfstudy.generation.solver import Solver, load_policy, make_solver
from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings
from selfstudy.models.load import load_model, load_tokenizer, save_model
from selfstudy.models.tokenizers import Family
from selfstudy.plugins import parse_spec
from selfstudy.stages import sample as sample_module
from selfstudy.stages.base import Inputs
from selfstudy.stages.sample import Draw, split_evenly
from selfstudy.storage.judged import read_samples
from selfstudy.types import SILENT, Sample
from tests.stages.builders import artifact, model_folder, problem

# One row at a time, so that sixteen samples are a shard.
NARROW = SamplingSettings(temperature=1.0, max_new_tokens=8, max_batch_tokens=1)
COUNTING = '''
from collections import Counter

from selfstudy.generation.hooks import Hook


class Counting(Hook):
    """Forces nothing; counts what it was shown, under a name of its own and under one that is taken."""

    def bind(self, tokenizer, notation):
        return _Bound()


class _Bound:
    def start(self):
        return _Row()


class _Row:
    def __init__(self):
        self.counts = Counter()

    def feed(self, token_id):
        self.counts.update({"seen": 1, "tokens": 1000, f"token {token_id}": 1})
'''


def stage(**changes: Any) -> Draw:
    settings = {
        "sampling": SamplingSettings(temperature=1.0, max_new_tokens=8), "format": FormatSettings(),
        "compute": Compute(device="cpu", threads=1), "seed": 0, "purpose": "pairs", "round": 1,
        "split": "unlabelled", "start": 0, "count": 2,
    }  # fmt: skip
    return Draw(**{**settings, **changes})


def inputs(folder: Path, family: Family = "causal", *, problems: int = 7) -> Inputs:
    splits = {"unlabelled": [problem(n, solved=False) for n in range(problems)], "dev": [problem(20)]}
    return {
        "model": (model_folder(folder / "model", family),),
        "problems": (artifact(folder / "problems", splits),),
    }


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


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


@for_all(st.integers(0, 300), st.integers(1, 60))
def test_ranges_are_long_enough_and_nearly_alike(count: int, least: int) -> None:
    parts = split_evenly(range(count), least)
    assert [item for part in parts for item in part] == list(range(count))
    sizes = [len(part) for part in parts]
    assert min(sizes) >= least or len(parts) == 1
    assert max(sizes) < 2 * least
    assert max(sizes) - min(sizes) <= 1


def loaded(folder: Path, sampling: SamplingSettings) -> Solver:
    it = stage()
    return make_solver(*load_policy(folder, it.format, it.compute), sampling, seed=0, purpose="pairs")


@pytest.mark.parametrize("batch_tokens", [1, 90, None])
def test_a_shard_has_sixteen_times_the_rows_of_a_batch(batch_tokens: int | None, tmp_path: Path) -> None:
    sampling = SamplingSettings(temperature=1.0, max_new_tokens=8, max_batch_tokens=batch_tokens)
    it, given = stage(sampling=sampling, count=3), inputs(tmp_path, problems=40)
    run(it, given, tmp_path / "out")
    solver = loaded(given["model"][0].path, sampling)
    rows = solver.engine.rows(solver.requests([problem(n) for n in range(40)], range(3)))
    sizes = [len(part.read_text().splitlines()) for part in (tmp_path / "out").glob("*.jsonl")]
    assert sum(sizes) == 120
    assert len(sizes) == max(1, 40 // math.ceil(16 * rows / 3))
    assert batch_tokens is None or len(sizes) > 1
    assert len(sizes) == 1 or min(sizes) >= 16 * rows


def test_one_long_prompt_makes_no_shard_smaller(tmp_path: Path) -> None:
    """Shards without it are drawn in more rows than one with it could be."""
    sampling = SamplingSettings(temperature=1.0, max_new_tokens=8, max_batch_tokens=120)
    solver = loaded(model_folder(tmp_path, "causal").path, sampling)
    long = replace(problem(0), question=" ".join(["Tom has 3 apples."] * 12))
    few = solver.requests([problem(n) for n in range(1, 40)], range(3))
    assert solver.engine.rows([*solver.requests([long], range(3)), *few]) == solver.engine.rows(few) > 1


def test_whole_shards_are_kept_and_a_torn_one_is_drawn_again(tmp_path: Path) -> None:
    given, out = inputs(tmp_path), tmp_path / "out"
    it = stage(sampling=NARROW.model_copy(update={"batches_per_shard": 4}))  # two problems of two samples
    wanted = run(it, given, out)
    before = contents(out)
    assert list(before) == [f"part-{n:05d}.{kind}" for n in range(3) for kind in ("json", "jsonl")]
    kept = (out / "part-00000.jsonl").stat().st_ino
    for name in ("part-00001.jsonl", "part-00002.json", "part-00002.jsonl"):
        (out / name).unlink()
    (out / "part-00001.json").write_text("{}")
    (out / ".part-00002.jsonl.writing").write_text("torn")
    assert run(it, given, out) == wanted
    assert contents(out) == before
    assert (out / "part-00000.jsonl").stat().st_ino == kept


def test_samples_come_last_since_they_say_that_a_shard_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, out = inputs(tmp_path), tmp_path / "out"
    wanted = run(stage(), given, tmp_path / "wanted")

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    for writer in ("write_json", "write_records"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(sample_module, writer, die)
            run(stage(), given, out)
        assert list(contents(out)) == ([] if writer == "write_json" else ["part-00000.json"])
    assert run(stage(), given, out) == wanted


@pytest.mark.parametrize(("family", "devices"), [("causal", 3), ("seq2seq", 2)])
def test_any_number_of_processes_writes_the_same_bytes(family: Family, devices: int, tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    hook = parse_spec(hooks.FAMILY, str(tmp_path / "counting.py"))
    given = inputs(tmp_path, family, problems=25)
    found = {}
    for n in (1, devices):
        compute = Compute(device="cpu", threads=1, devices=n)
        it = stage(sampling=NARROW.model_copy(update={"hook": hook}), compute=compute, count=4)
        metrics, _ = run(it, given, tmp_path / f"out-{n}")
        found[n] = (it.identity(), metrics, contents(tmp_path / f"out-{n}"))
    assert found[1] == found[devices]
    assert len(found[1][2]) == 2 * 6


def test_an_error_in_a_worker_names_the_problem(tmp_path: Path) -> None:
    given = inputs(tmp_path, problems=9)
    folder = given["model"][0].path
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    (token,) = tokenizer("8", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = torch.nan
    save_model(model, tokenizer, folder, {})
    it = stage(sampling=NARROW, compute=Compute(device="cpu", threads=1, devices=2), count=4)
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError, match=r"^p/008: the model's logits are not finite"):
        it.run(given, tmp_path / "out", SILENT)
    assert "part-00001.jsonl" not in contents(tmp_path / "out")


def test_what_the_hook_counts_is_summed_over_shards(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    sampling = NARROW.model_copy(update={"hook": parse_spec(hooks.FAMILY, str(tmp_path / "counting.py"))})
    out = tmp_path / "out"
    metrics, samples = run(stage(sampling=sampling, count=4), inputs(tmp_path, problems=14), out)
    tokens = sum(len(s.completion.token_ids) for s in samples)
    assert metrics["tokens"] == tokens
    assert metrics["seen"] == tokens - sum(s.completion.finish == "stop" for s in samples)
    assert "degraded" not in metrics
    facts = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    assert len(facts) == 3
    assert sum(part["counts"]["seen"] for part in facts) == metrics["seen"]
    assert [part["halved"] for part in facts] == [0, 0, 0]
    # Whichever shards a process drew before, a shard's facts are the same.
    before = contents(out)
    for number in (0, 2):
        (out / f"part-{number:05d}.jsonl").unlink()
        (out / f"part-{number:05d}.json").unlink()
    again, _ = run(stage(sampling=sampling, count=4), inputs(tmp_path, problems=14), out)
    assert contents(out) == before
    assert again == metrics


def test_where_memory_ran_out_the_artifact_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = SamplingSettings(temperature=1.0, max_new_tokens=8, max_batch_tokens=160, batches_per_shard=1)
    given = inputs(tmp_path)
    _, wanted = run(stage(sampling=sampling), given, tmp_path / "wanted")
    armed = []
    generate, step = Engine.generate, Decoder.step

    def generate_with_little_memory(self: Engine, requests: Any, bar: Any = None) -> list[Sample]:
        armed[:] = [True] * any(request.problem_id == "p/000" for request in requests)
        return generate(self, requests, bar)

    def step_once_too_large(self: Decoder, rows: Any) -> Any:
        if armed:
            armed.clear()
            raise torch.OutOfMemoryError("out of memory, for this test")
        return step(self, rows)

    monkeypatch.setattr(Engine, "generate", generate_with_little_memory)
    monkeypatch.setattr(Decoder, "step", step_once_too_large)
    metrics, samples = run(stage(sampling=sampling), given, tmp_path / "out")
    parts = sorted((tmp_path / "out").glob("*.json"))
    assert len(parts) > 1
    assert metrics["degraded"] is True
    assert metrics["degraded_shards"] == ["part-00000"]
    assert [json.loads(path.read_text())["halved"] for path in parts] == [1] + [0] * (len(parts) - 1)
    assert [(s.problem_id, s.index, s.completion) for s in samples] == [
        (s.problem_id, s.index, s.completion) for s in wanted
    ]
    monkeypatch.undo()
    assert run(stage(sampling=sampling), given, tmp_path / "out")[0] == metrics  # the mark stays


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
