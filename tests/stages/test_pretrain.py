"""Pretraining: a stream of documents learnt in order, for both families, through kills."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import selfstudy
from selfstudy.asking import find_model
from selfstudy.errors import ConfigError, DataError, ModelError
from selfstudy.models.compute import Compute
from selfstudy.models.format import FormatSettings, bind
from selfstudy.models.load import load_model, load_tokenizer
from selfstudy.models.tokenizers import Family
from selfstudy.problems.mixture import Part, stream
from selfstudy.stages.create_model import CreateForMixture
from selfstudy.stages.pretrain import Documents, Items, Pretrain, PretrainSettings
from selfstudy.storage.artifacts import Artifact
from selfstudy.types import SILENT, Context
from tests.stages.builders import artifact, model_folder

MIXTURE = [
    {"source": {"name": "msat", "count": 40, "max_operators": 1}, "weight": 3},
    {"source": {"name": "stories", "split": "pretrain", "count": 30}},
]


def settings(**changes: Any) -> PretrainSettings:
    plan = {"mixture": MIXTURE, "learning_rate": 3e-3, "batch_size": 8, "max_steps": 12, "max_tokens": 200}
    return PretrainSettings.parse(plan | changes, "pretraining")


def documents(folder: Path, family: Family, plan: PretrainSettings) -> Documents:
    tokenizer = load_tokenizer(model_folder(folder / f"tokenizer-{family}", family).path)
    return Documents(plan, bind(FormatSettings(), tokenizer, family), 7, 96)


def run(folder: Path, family: Family, plan: PretrainSettings, out: str, ctx: Context = SILENT) -> dict[str, Any]:
    base = folder / "model"
    if not base.is_dir():
        model_folder(base, family)
    stage = Pretrain(settings=plan, format=FormatSettings(), compute=Compute(device="cpu", threads=1), seed=0)
    (folder / out).mkdir(exist_ok=True)
    return stage.run({"model": (Artifact("leaf", "0" * 16, base),)}, folder / out, ctx)


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_learns_and_says_what_it_did(family: Family, tmp_path: Path) -> None:
    metrics = run(tmp_path, family, settings(max_steps=60, learning_rate=1e-2), "out")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out" / "train_log.jsonl").read_text().splitlines()]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    assert (metrics["documents"], metrics["steps"]) == (480, 60)
    assert metrics["loss"] == pytest.approx(sum(losses[-50:]) / 50)
    assert math.isfinite(metrics["loss"])
    assert load_model(tmp_path / "out").num_parameters() == metrics["parameters"]
    assert "msat, stories" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_killed_and_resumed_equals_straight(family: Family, tmp_path: Path) -> None:
    wanted = run(tmp_path, family, settings(max_tokens=150), "straight")
    assert wanted["left_out"]

    def die(event: str, fields: Any) -> None:
        if fields.get("step") == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, family, settings(max_tokens=150), "killed", Context(die, SILENT.progress, 3))
    assert (tmp_path / "killed" / "step-000006").is_dir()
    assert run(tmp_path, family, settings(max_tokens=150), "killed") == wanted
    for name in ("model.safetensors", "train_log.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_a_document_is_a_whole_problem(family: Family, tmp_path: Path) -> None:
    found = documents(tmp_path, family, settings(max_tokens=500))
    problems = stream(found.settings.mixture, 7)
    for group, problem in zip(found[:40], problems, strict=False):
        prompt, solution = found.format.prompt_ids(problem), found.format.gold(problem).token_ids
        assert group.prompt_ids == (prompt[:1] if family == "causal" else prompt)
        assert group.prompt_ids + group.completions[0] == prompt + solution
    assert len({group.problem_id for group in found[:40]}) == 40


def test_documents_are_the_same_in_any_order_and_few_are_kept(tmp_path: Path) -> None:
    found = documents(tmp_path, "causal", settings(batch_size=2))
    straight = [found[number] for number in range(96)]
    assert len(found._kept) == 8
    other = documents(tmp_path, "causal", settings(batch_size=2))
    assert [other[number] for number in (90, 3, 4, 50, 0)] == [straight[number] for number in (90, 3, 4, 50, 0)]
    assert pickle.loads(pickle.dumps(found))[5] == straight[5]
    assert found[94:] == straight[94:]
    for sequence in (found, Items(96)):
        assert len(sequence) == 96
        with pytest.raises(IndexError):
            sequence[96]


def test_long_documents_are_left_out_and_counted(tmp_path: Path) -> None:
    everything = documents(tmp_path, "causal", settings())
    lengths = [1 + len(group.completions[0]) for group in everything]
    limit = sorted(lengths)[60]
    some = documents(tmp_path, "causal", settings(max_tokens=limit))
    assert all(1 + len(group.completions[0]) <= limit for group in some)
    assert some.left_out > 10
    assert [group.problem_id for group in some][:5] == [
        g.problem_id for g, n in zip(everything, lengths, strict=True) if n <= limit
    ][:5]


def test_nothing_short_enough_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfstudy.stages.pretrain._PATIENCE", 20)
    with pytest.raises(DataError, match=r"21 documents in a row have more than 5 tokens, .*; raise pretraining"):
        documents(tmp_path, "causal", settings(max_tokens=5))[0]


def test_unsolved_problems_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("question,answer\nWhat is 1 + 1?,2\n")
    mixture = [{"source": {"name": "tabular", "path": str(tmp_path / "own.csv")}}]
    with pytest.raises(DataError, match="has no solution; pretraining learns from solved problems alone"):
        documents(tmp_path, "causal", settings(mixture=mixture))[0]


def test_a_mixture_keeps_its_weights_and_begins_again() -> None:
    parts = [Part.parse(part, "part") for part in MIXTURE]
    found = list(islice(stream(parts, 1), 2000))
    shares = Counter(problem.id.split("/")[0] for problem in found)
    assert 0.70 < shares["msat"] / 2000 < 0.80
    assert len({problem.id for problem in found}) == 70
    assert [p.id for p in islice(stream(parts, 1), 50)] == [p.id for p in found[:50]]
    assert [p.id for p in islice(stream(parts, 2), 50)] != [p.id for p in found[:50]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora": {"rank": 2}}, "lora has no meaning in pretraining"),
        ({"order": "grouped"}, "order has no meaning"),
        ({"mixture": [{"source": {"name": "stories", "split": "test"}}]}, "stories with split: test is for measuring"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(**changes)


def test_documents_longer_than_the_models_positions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="max_tokens=600 exceeds the 512 positions of LlamaForCausalLM; lower it"):
        run(tmp_path, "causal", settings(max_tokens=600), "out")


def test_a_mixture_without_an_end_needs_steps() -> None:
    with pytest.raises(ConfigError, match="a mixture has no end; set max_steps, and no epochs"):
        settings(max_steps=None, epochs=2)


def test_the_tokenizer_learns_from_the_mixture(tmp_path: Path) -> None:
    parts = tuple(Part.parse(part, "part") for part in MIXTURE)
    stage = CreateForMixture(preset="llama-tiny", vocab_size=400, format=FormatSettings(), seed=0, mixture=parts)
    (tmp_path / "out").mkdir()
    stage.run({"data": (artifact(tmp_path / "none"),)}, tmp_path / "out", SILENT)
    assert len(load_tokenizer(tmp_path / "out").tokenize(" How many")) <= 2


def test_one_command_makes_and_scores_a_base_model(tmp_path: Path) -> None:
    small = ["problems.train.count=20", "problems.dev.count=6", "problems.test.count=6", "problems.labelled=10"]
    mixture = json.dumps({"mixture": MIXTURE, "max_steps": 4, "batch_size": 4})
    plan = [
        "recipe=pretrain",
        f"root={tmp_path}",
        f"pretraining={mixture}",
        "compute.threads=1",
        "evaluation.samples=0",
    ]
    results = selfstudy.run("quickstart", [*small, *plan, "sampling.max_new_tokens=8"], quiet=True)
    assert list(results.models) == ["pretrained"]
    assert results.scores["pretrained", "test"]["accuracy"]["n"] == 6
    run = next((tmp_path / "runs").iterdir()).name
    assert find_model(run, tmp_path).folder.is_dir()  # its own settings can be read again
