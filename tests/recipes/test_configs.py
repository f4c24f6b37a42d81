"""The packaged configs: all can be planned; the paper's say what the paper says, and run with a small stand-in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tokenizers import processors

import selfstudy
from selfstudy.config import load_tree, packaged_configs
from selfstudy.models.format import read_format
from selfstudy.models.load import save_model
from selfstudy.recipes.config import Config
from selfstudy.recipes.prepare import prepare
from selfstudy.storage.records import read_records
from selfstudy.types import Pair, Problem
from tests.fakes import llama_tokenizer, sentencepiece_tokenizer, tiny_llama, tiny_t5
from tests.stages.builders import read_lines, taught_to_end
from tests.system.conftest import PARITY

PAPER = {
    "flan_t5_large_gsm8k": "google/flan-t5-large",
    "flan_t5_base_gsm8k": "google/flan-t5-base",
    "llama2_7b_gsm8k": "meta-llama/Llama-2-7b-hf",
    "tinyllama_gsm8k": "TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T",
}
# METHOD, "Settings of the paper": setting, Flan-T5, Llama.
TABLE: list[tuple[str, Any, Any]] = [
    ("recipe", "dpo_st", "dpo_st"),
    ("rounds", 3, 3),
    ("prompt.notation", "bracket", "angle"),
    ("problems.labelled", "all", "all"),
    ("problems.unlabelled", "all", "all"),
    ("compute.dtype", "bfloat16", "bfloat16"),
    ("sft.batch_size", 96, 128),
    ("sft.epochs", 8, 2),
    ("sft.max_steps", None, None),
    ("sft.learning_rate", 3e-4, 2e-5),
    ("sft.warmup_ratio", 0.1, 0.03),
    ("sft.weight_decay", 0.01, 0.01),
    ("sft.max_grad_norm", 1.0, 1.0),
    ("sft.min_lr_ratio", 0.1, 0.1),
    ("sft.dropout", "model", "model"),
    ("sft.max_prompt_tokens", 200, 256),
    ("sft.max_completion_tokens", 300, 384),
    ("sampling.temperature", 0.7, 0.7),
    ("sampling.top_k", 50, 50),
    ("sampling.top_p", None, None),
    ("sampling.max_new_tokens", 300, 300),
    ("sampling.hook.name", "calculator", "calculator"),
    ("pairs.n", 5, 5),
    ("pairs.pairer.name", "least_similar", "least_similar"),
    ("pairs.pairer.settings.per_problem", 3, 3),
    ("pairs.pairer.settings.threshold", 0.7, 0.7),
    ("preference.batch_size", 96, 128),
    ("preference.max_steps", 150, 100),
    ("preference.epochs", None, None),
    ("preference.learning_rate", 7e-7, 3e-7),
    ("preference.warmup_ratio", 0.1, 0.03),
    ("preference.weight_decay", 0.01, 0.01),
    ("preference.max_grad_norm", 1.0, 1.0),
    ("preference.min_lr_ratio", 0.1, 0.1),
    ("preference.dropout", "off", "off"),
    ("preference.guard", "off", "off"),
    ("preference.max_prompt_tokens", 200, 256),
    ("preference.max_completion_tokens", 300, 384),
    ("preference.loss.name", "dpo", "dpo"),
    ("preference.loss.settings.beta", 0.1, 0.1),
    ("preference.loss.settings.nll_weight", 0, 0),
    ("preference.loss.settings.label_smoothing", 0, 0),
    ("labels.n", 3, 3),
    ("labels.selector.name", "dedup_jaccard", "dedup_jaccard"),
    ("labels.selector.settings.threshold", 0.7, 0.7),
    ("verifier.name", "numeric", "numeric"),
    ("verifier.settings.tolerance", 1e-4, 1e-4),
]


def at(config: Config, path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_settings(name: str) -> None:
    config = Config.parse(load_tree(name), name)
    column = 1 if name.startswith("flan") else 2
    assert {row[0]: at(config, row[0]) for row in TABLE} == {row[0]: row[column] for row in TABLE}
    assert config.model == PAPER[name]
    assert sorted(config.problems.transfer) == ["asdiv", "multiarith", "svamp"]


OFFLINE = {"quickstart", "from_scratch", "tiny_llama", "tiny_t5", "tinyllama_pretrain"}


@pytest.mark.parametrize("name", packaged_configs())
def test_every_config_can_be_planned_offline(name: str) -> None:
    """Without data, without a network: the steps are known, the fingerprints where nothing has to be fetched."""
    prepared = prepare(name, download=False)
    assert prepared.config == Config.parse(load_tree(name), name)
    steps = {step.name: step for step in prepared.plan.steps}
    if prepared.config.recipe == "pretrain":
        # Before any compute it is known whether the problems can be judged, and were not learned.
        assert list(steps)[:5] == ["problems", "gold", "overlap", "fresh", "pretrained"]
        assert "best" in steps
    else:
        assert {"problems", "sft", "pairs-1", "dpo-1", "labels-1", "dpo-st-1", "best"} <= steps.keys()
        assert f"dpo-st-{prepared.config.rounds}" in steps
    offline = name in OFFLINE
    assert all((step.fingerprint is not None) is offline for step in steps.values())
    assert bool(prepared.missing) is not offline
    sizes = prepared.sizes()
    assert all(step.stage.forecast(sizes).work for step in prepared.plan.steps)
    if name in PAPER:
        assert prepared.model_bytes == 0
        assert "base" not in steps
        assert steps["sft"].inputs["model"][0].name == PAPER[name]
        assert steps["sft"].artifact_name == "sft-(known after download)"


@pytest.mark.parametrize("name", packaged_configs())
def test_a_resolved_config_says_the_same_when_it_is_read_again(name: str) -> None:
    prepared = prepare(name, ["root=runs"], download=False)
    prepared.write()
    text = (prepared.folder / "config.yaml").read_text()
    assert Config.parse(yaml.safe_load(text), name) == prepared.config
    assert Config.parse(load_tree(str(prepared.folder / "config.yaml")), name) == prepared.config


@pytest.mark.parametrize("name", packaged_configs())
def test_with_the_data_there_all_but_the_model_is_known(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSTUDY_DATA", str(data))
    prepared = prepare(name, download=False)
    lacking = [what.split(":")[0].split("/")[0] for what in prepared.missing]
    # The test split, what is not there, and the model.
    assert lacking == (["gsm8k", "multiarith", f"model {prepared.config.model.split('/')[0]}"] if name in PAPER else [])
    problems = prepared.plan.step("problems").fingerprint
    assert (problems is not None) is (name not in PAPER)


def t5(folder: Path) -> None:
    """As Flan-T5: a Unigram tokenizer without ``<`` and newline, ``</s>`` at the end of what the encoder reads."""
    tokenizer = sentencepiece_tokenizer(alphabet="".join(chr(code) for code in range(33, 127) if chr(code) not in "<>"))
    processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", tokenizer.eos_token_id)])
    tokenizer.backend_tokenizer.post_processor = processor
    save_model(tiny_t5(len(tokenizer)), tokenizer, folder, {})


def llama(folder: Path) -> None:
    tokenizer = llama_tokenizer()
    model = tiny_llama(len(tokenizer), max_position_embeddings=1024, bos_token_id=1, eos_token_id=2, pad_token_id=None)
    save_model(model, tokenizer, folder, {})


SMALL = [
    "model=./stand-in",
    "rounds=1",
    "problems.train={name: word_problems, split: train, count: 14, max_steps: 1, max_number: 5}",
    "problems.labelled=6",
    "problems.dev={name: word_problems, split: dev, count: 3, max_steps: 1, max_number: 5}",
    *(
        f"problems.{name}={{name: word_problems, split: test, count: 2, max_steps: 1, max_number: {5 + n}}}"
        for n, name in enumerate(("test", "transfer.multiarith", "transfer.asdiv", "transfer.svamp"))
    ),
    "sft.epochs=null",
    "sft.max_steps=2",
    "sampling.max_new_tokens=20",
    "preference.max_steps=2",
    "labels.n=12",  # some of them distinct and right, whatever the rounding
    "evaluation.samples=2",
    "evaluation.ks=[1, 2]",
    "compute.threads=1",
    "compute.device=cpu",
    "max_overlap=1",  # problems of one step with numbers up to 5 are all alike
    # Such a model hardly gets one right; so any text is right or wrong by the parity of its length.
    "verifier=./parity.py",
]


@pytest.mark.parametrize(
    ("name", "stand_in", "notation"),
    [
        ("flan_t5_large_gsm8k", t5, "bracket"),
        ("flan_t5_base_gsm8k", t5, "bracket"),
        ("llama2_7b_gsm8k", llama, "angle"),
        ("tinyllama_gsm8k", llama, "angle"),
    ],
)
def test_runs_with_a_stand_in_of_the_same_family(
    name: str, stand_in: Callable[[Path], None], notation: str, tmp_path: Path
) -> None:
    """From end to end, with the paper's batch sizes, precision, prompt and notation."""
    stand_in(tmp_path / "untaught")
    taught_to_end(tmp_path / "untaught", tmp_path / "stand-in")
    (tmp_path / "parity.py").write_text(PARITY)
    results = selfstudy.run(name, [*SMALL, "root=runs"], name="small", quiet=True)
    assert results.models == ["sft", "dpo-1", "dpo-st-1"]
    assert results.splits == ["dev", "test", "transfer-multiarith", "transfer-asdiv", "transfer-svamp"]
    assert set(results.scores) == {(model, split) for model in results.models for split in results.splits}
    artifacts = {step.name: step.artifact for step in results.steps}
    assert all(artifacts.values())
    assert artifacts["dpo-1"].metrics()["steps"] == 2
    kept = artifacts["labels-1"].metrics()["pseudo_labels"]
    assert kept > 0
    assert artifacts["dpo-st-1"].metrics()["pseudo_labels"] == kept
    for model in results.models:
        assert read_format(artifacts[model].path).notation == notation
    gold = [p for p in read_records(artifacts["pairs-1"].path / "pairs.jsonl", Pair) if p.chosen_from == "gold"]
    opening, newline = ("[ ", False) if notation == "bracket" else ("<<", True)
    assert gold
    for pair in gold:
        assert opening in pair.chosen.text
        assert ("\n" in pair.chosen.text) is newline
    assert len(list(read_records(artifacts["problems"].path / "labelled.jsonl", Problem))) == 6
    log = read_lines(artifacts["sft"].path / "train_log.jsonl")
    rate = 3e-4 if notation == "bracket" else 2e-5
    assert max(line["learning_rate"] for line in log) == pytest.approx(rate)
