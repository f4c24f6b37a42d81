"""From a config to a plan: what is checked before any compute, and what counts for nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from selfstudy.errors import ConfigError, DataError, ModelError, PluginError
from selfstudy.models.load import load_model
from selfstudy.models.presets import PRESETS
from selfstudy.recipes.prepare import prepare
from selfstudy.storage.artifacts import Artifact
from selfstudy.types import SILENT
from tests.stages.builders import model_folder

OWN = Path(__file__).parents[1] / "data" / "problems"
TABLE = "problems.train={name: tabular, path: mine.jsonl, solution: solution}"
HELD = ["problems.labelled=all", "problems.dev=2", "problems.test=2", "problems.unlabelled=all"]


@pytest.fixture
def table() -> Path:
    path = Path("mine.jsonl")
    rows = [{"question": f"{n} + 1?", "answer": str(n + 1), "solution": f"#### {n + 1}"} for n in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prints(*overrides: str) -> dict[str, str | None]:
    return {s.name: s.fingerprint for s in prepare("quickstart", overrides).plan.steps}


def test_data_count_by_content_and_not_by_place(table: Path) -> None:
    before = prints(TABLE, *HELD)
    Path("elsewhere").mkdir()
    shutil.copy(table, "elsewhere/mine.jsonl")
    assert prints(TABLE.replace("mine.jsonl", "elsewhere/mine.jsonl"), *HELD) == before
    table.write_text(table.read_text().replace("11 + 1?", "11 and 1?"))
    after = prints(TABLE, *HELD)
    assert all(after[name] != before[name] for name in before)


def test_which_source_reads_which_file_counts() -> None:
    for name in "ab":
        Path(name).mkdir()
        Path(name, "mine.jsonl").write_text(json.dumps({"question": f"{name}?", "answer": "1"}) + "\n")

    def transfer(files: str) -> str | None:
        parts = (f"{name}: {{name: tabular, path: {f}/mine.jsonl}}" for name, f in zip("xyz", files, strict=True))
        return prints(f"problems.transfer={{{', '.join(parts)}}}")["problems"]

    # Of three sources, since two are told apart by how many files there are, each of them counted once.
    ways = ("aab", "aba", "abb", "baa", "bab", "bba")
    assert len({transfer(files) for files in ways}) == len(ways)


def test_a_file_that_is_found_is_the_file_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "svamp").mkdir()
    shutil.copy(OWN / "SVAMP.json", tmp_path / "svamp")
    monkeypatch.setenv("SELFSTUDY_DATA", str(tmp_path))
    found = prints("problems.transfer={svamp: {name: svamp}}")
    assert prints(f"problems.transfer={{svamp: {{name: svamp, path: {tmp_path}/svamp/SVAMP.json}}}}") == found


def test_models_count_by_content_and_not_by_place() -> None:
    model_folder(Path("a"), "causal")
    model_folder(Path("b"), "causal")
    model_folder(Path("c"), "causal", seed=1)
    a, b, c = (prints(f"model=./{name}") for name in "abc")
    assert a == b
    assert {name for name in a if a[name] == c[name]} == {"problems", "gold", "overlap"}


def test_new_weights_under_the_same_path_are_another_model() -> None:
    """The bug that self-training invites."""
    model_folder(Path("model"), "causal")
    before = prints("model=./model")
    shutil.rmtree("model")
    model_folder(Path("model"), "causal", seed=1)
    after = prints("model=./model")
    assert after["sft"] != before["sft"]
    assert after["problems"] == before["problems"]


def test_a_shard_of_any_name_is_weights() -> None:
    folder = Path("model")
    model_folder(folder, "causal")
    (folder / "model.safetensors").rename(folder / "part-1.safetensors")
    names = load_file(folder / "part-1.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "part-1.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    before = prints("model=./model")
    save_file({name: value + 1 for name, value in names.items()}, folder / "part-1.safetensors")
    assert prints("model=./model")["sft"] != before["sft"]


def test_weights_in_other_formats_beside_a_model_are_no_part_of_it() -> None:
    folder = Path("model")
    model_folder(folder, "causal")
    before = prints("model=./model")
    (folder / "onnx").mkdir()
    for name in ("consolidated.safetensors", "optimizer.safetensors", "onnx/model.safetensors", "README.md"):
        shutil.copy(folder / "model.safetensors", folder / name)
    assert prints("model=./model") == before


def test_a_damaged_index_of_weights_is_said_before_any_compute() -> None:
    model_folder(Path("model"), "causal")
    Path("model/model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json cannot be read"):
        prints("model=./model")


@pytest.mark.parametrize("preset", ["llama-tiny", "t5-tiny"])
def test_a_preset_is_weighed_without_making_it(preset: str, tmp_path: Path) -> None:
    assert preset in PRESETS
    prepared = prepare("quickstart", [f"model={preset}", "problems.train.count=300", "problems.labelled=100"])
    stage = prepared.plan.step("base").stage
    problems = prepared.plan.step("problems")
    for folder in ("problems", "base"):
        (tmp_path / folder).mkdir()
    problems.stage.run({}, tmp_path / "problems", SILENT)
    stage.run({"problems": (Artifact("problems", "", tmp_path / "problems"),)}, tmp_path / "base", SILENT)
    made = 4 * load_model(tmp_path / "base").num_parameters()
    assert prepared.model_bytes == pytest.approx(made, rel=0.05)
    assert torch.get_default_device().type == "cpu"


def test_sizes_are_those_of_the_splits(table: Path) -> None:
    prepared = prepare("quickstart", [TABLE, *HELD])
    assert prepared.sizes().problems == {"labelled": 8, "unlabelled": 8, "dev": 2, "test": 2}
    assert not (Path("selfstudy-runs") / "artifacts").exists()


def test_self_training_from_fresh_weights_is_warned_of_and_the_rest_is_not() -> None:
    fresh = ["model=llama-tiny"]
    (warning,) = prepare("quickstart", fresh).warnings
    assert warning.startswith("model llama-tiny is an architecture without weights")
    assert prepare("quickstart", [*fresh, "recipe=supervised"]).warnings == ()
    assert prepare("tiny_llama").warnings == ()
    model_folder(Path("causal"), "causal")
    assert prepare("quickstart", ["model=./causal"]).warnings == ()


def test_what_cannot_work_is_said_before_any_compute(table: Path) -> None:
    with pytest.raises(DataError, match=r"gsm8k: .*SELFSTUDY_DATA"):
        prepare("gsm8k_tiny")
    with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
        prepare("quickstart", [TABLE.replace("mine", "none"), *HELD])
    with pytest.raises(ModelError, match=r"org/none.*cannot be reached"):
        prepare("quickstart", ["model=org/none"])
    Path("empty").mkdir()
    with pytest.raises(ModelError, match=r"not a model folder, config\.json is missing"):
        prepare("quickstart", ["model=./empty"])
    model_folder(Path("causal"), "causal")
    with pytest.raises(ModelError, match=r"^model \./causal: prompt\.chat is on, but the model has no chat template"):
        prepare("quickstart", ["model=./causal", "prompt.chat=true"])
    with pytest.raises(ModelError, match="positions"):
        prepare("quickstart", ["model=./causal", "sampling.max_new_tokens=600"])
    model_folder(Path("seq2seq"), "seq2seq")
    with pytest.raises(
        ModelError, match=r"^model \./seq2seq: .*cannot spell the angle notation.*; set prompt\.notation: auto"
    ):
        prepare("quickstart", ["model=./seq2seq", "prompt.notation=angle"])
    Path("verifier.py").write_text("class Broken(\n")
    with pytest.raises(PluginError, match=r"verifier\.py"):
        prepare("quickstart", ["verifier=./verifier.py"])
    Path("alone.yaml").write_text("rounds: 1\n")
    with pytest.raises(ConfigError, match="model is required; add 'model: …' to it, or model=… to the command"):
        prepare("alone.yaml")
    for change, message in {
        "recipe=dpo": "recipe: Input should be 'dpo_st'",
        "sft={epochs: 2, max_steps: 3}": "either epochs or max_steps",
        "problems.labeled=3": "problems.labeled is not a setting; did you mean 'labelled'",
        "problems.dev={name: gsm9k}": "unknown name 'gsm9k'; did you mean 'gsm8k'",
    }.items():
        with pytest.raises(ConfigError, match=message):
            prepare("quickstart", [change])
    prepare("quickstart", ["pairs.held_out=0"])
    assert not (Path("selfstudy-runs") / "artifacts").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("preference.guard.evry=20", "preference.guard.evry is not a setting; did you mean 'every'?"),
        (
            "preference.guard=on",
            "preference.guard: a mapping of settings is needed, or Input should be 'off' (received 'on')",
        ),
        (
            "preference.guard={every: 0}",
            "preference.guard.every: Input should be greater than or equal to 1 (received 0)",
        ),
        (
            "problems.labelled=none",
            "problems.labelled: Input should be a valid integer, or Input should be a valid number, or Input should be "
            "'all' (received 'none')",
        ),
        (
            "sft.lora={targets: q_proj}",
            "sft.lora.targets: Input should be 'all-linear', or Input should be a valid tuple (received 'q_proj')",
        ),
        (
            "problems.train.count=-5",
            "problems.train: word_problems: count: Input should be greater than or equal to 1 (received -5)",
        ),
        ("problems.transfer={a: {name: svap}}", "problems.transfer.a: unknown name 'svap'; did you mean 'svamp'?"),
        ("evaluation.ks=[1, 0]", "evaluation.ks.1: Input should be greater than or equal to 1 (received 0)"),
        ("recipe=pretrain", "recipe: pretrain needs pretraining.mixture and pretraining.max_steps"),
    ],
)
def test_a_wrong_setting_is_named_once_as_the_user_knows_it(change: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare("quickstart", [change])
    assert str(caught.value) == f"quickstart: {message}"


def test_a_guard_that_is_off_is_turned_on_by_its_settings() -> None:
    assert prepare("flan_t5_large_gsm8k", ["preference.guard.every=7"], download=False).config.preference.guard != "off"


def test_a_plan_that_is_only_looked_at_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(repo: str, **options: object) -> str:
        if not options.get("local_files_only"):
            asked.append(repo)
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr("selfstudy.problems.files.snapshot_download", fetch)
    assert prepare("gsm8k_tiny", download=False).missing
    assert asked == []
