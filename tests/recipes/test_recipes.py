"""Recipes as plans: which steps, from which inputs, and what a changed setting changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from selfstudy.pipeline import Leaf, Plan, Step
from selfstudy.recipes.prepare import describe, prepare
from selfstudy.stages.preference import Preference
from selfstudy.stages.sample import Draw
from selfstudy.stages.sft import Sft
from selfstudy.stages.verify import Verify

SMALL = ["rounds=2", "pairs.n=3", "labels.n=2", "samples_per_step=10"]


def plan(*overrides: str) -> Plan:
    return prepare("from_scratch", [*SMALL, *overrides], download=False).plan


def names(step: Step, key: str) -> list[str]:
    return [node.name for node in step.inputs.get(key, ())]


def method(found: Plan) -> list[str]:
    """Return the steps of the algorithm, without judging and scoring."""
    return [s.name for s in found.steps if "part_of" not in s.about and "split" not in s.about]


def test_dpo_st_is_the_algorithm() -> None:
    found = plan()
    assert [name for name in method(found) if name not in ("gold", "overlap")] == [
        "problems", "base", "sft",
        "pair-samples-1", "pairs-1", "dpo-1", "label-samples-1", "labels-1", "dpo-st-1",
        "pair-samples-2", "pairs-2", "dpo-2", "label-samples-2", "labels-2", "dpo-st-2",
        "best",
    ]  # fmt: skip
    models = {s.name: names(s, "model") for s in found.steps if isinstance(s.stage, Sft | Preference)}
    # Every fine-tuning starts from the base model; preference learning from the round's policy, its own reference.
    assert models == {
        "sft": ["base"], "dpo-1": ["sft"], "dpo-st-1": ["base"], "dpo-2": ["dpo-st-1"], "dpo-st-2": ["base"],
    }  # fmt: skip
    assert {s.name: names(s, "pseudo") for s in found.steps if isinstance(s.stage, Sft)} == {
        "sft": [], "dpo-st-1": ["labels-1"], "dpo-st-2": ["labels-2"],
    }  # fmt: skip
    drawn_from = {s.name: names(s, "model") for s in found.steps if isinstance(s.stage, Draw) and "samples" in s.name}
    assert drawn_from == {
        "pair-samples-1": ["sft"], "label-samples-1": ["dpo-1"],
        "pair-samples-2": ["dpo-st-1"], "label-samples-2": ["dpo-2"],
    }  # fmt: skip
    # Pairs pool the samples of all SFT rounds so far, pseudo-labels those of all DPO rounds so far.
    pools = {s.name: names(s, "samples") for s in found.steps if s.name.split("-")[0] in ("pairs", "labels")}
    assert pools == {
        "pairs-1": ["pair-samples-1"], "labels-1": ["label-samples-1"],
        "pairs-2": ["pair-samples-1", "pair-samples-2"], "labels-2": ["label-samples-1", "label-samples-2"],
    }  # fmt: skip
    for step in found.steps:
        if step.name in pools:
            assert names(step, "verdicts") == [f"{name}/verdicts" for name in names(step, "samples")]
            assert names(step, "model") == ["base"]  # whose tokenizer writes the gold solutions
    assert {s.name: names(s, "pairs") for s in found.steps if s.stage.kind == "preference"} == {
        "dpo-1": ["pairs-1"], "dpo-2": ["pairs-2"],
    }  # fmt: skip


def test_what_a_run_costs_and_who_watches_it_change_nothing() -> None:
    before, after = plan(), plan("price_per_hour=2.5", "track=tensorboard", "checkpoint_every=7")
    assert [step.fingerprint for step in after.steps] == [step.fingerprint for step in before.steps]


def test_without_restart_fine_tuning_goes_on_from_the_last_model() -> None:
    models = {s.name: names(s, "model") for s in plan("restart=false").steps if isinstance(s.stage, Sft)}
    assert models == {"sft": ["base"], "dpo-st-1": ["sft"], "dpo-st-2": ["dpo-st-1"]}
    models = {
        s.name: names(s, "model")
        for s in plan("restart=false", "recipe=self_training").steps
        if isinstance(s.stage, Sft)
    }
    assert models == {"sft": ["base"], "st-1": ["sft"], "st-2": ["st-1"]}


@pytest.mark.parametrize(
    ("recipe", "models"),
    [
        ("dpo_st", ["sft", "dpo-1", "dpo-st-1", "dpo-2", "dpo-st-2"]),
        ("self_training", ["sft", "st-1", "st-2"]),
        ("rft", ["sft", "rft"]),
        ("supervised", ["sft"]),
    ],
)
def test_every_model_is_scored_on_dev_at_once_and_on_test_once_at_the_end(recipe: str, models: list[str]) -> None:
    found = plan(f"recipe={recipe}", "problems.transfer={easy: {name: word_problems, split: test, count: 3}}")
    order = [s.name for s in found.steps]
    scored = {(s.about["model"], s.about["split"]): s for s in found.steps if "split" in s.about}
    assert set(scored) == {(model, split) for model in models for split in ("dev", "test", "transfer-easy")}
    best = found.step("best")
    assert names(best, "models") == models
    assert names(best, "evaluations") == [f"evaluate/{model}/dev" for model in models]
    for (model, split), step in scored.items():
        assert names(step, "problems") == ["problems"]
        assert names(found.step(names(step, "greedy")[0]), "model") == [model]
        after = order.index("best") < order.index(step.name)
        assert after is (split != "dev")  # nothing is decided on test
    # Whatever does not score has no way to see test: no stage but Draw, Verify and Evaluate names a split.
    assert {s.stage.kind for s in found.steps if "split" in s.stage.model_dump()} == {"samples", "verdicts", "scores"}


def budget(recipe: str, *overrides: str) -> int:
    """Count the samples a problem that a recipe draws of U."""
    found = plan(f"recipe={recipe}", *overrides)
    return sum(s.stage.count for s in found.steps if isinstance(s.stage, Draw) and s.stage.split == "unlabelled")


@pytest.mark.parametrize(("rounds", "pairs", "labels", "block"), [(1, 3, 2, 10), (2, 3, 2, 2), (3, 4, 7, 4)])
def test_recipes_draw_equal_budgets(rounds: int, pairs: int, labels: int, block: int) -> None:
    settings = [f"rounds={rounds}", f"pairs.n={pairs}", f"labels.n={labels}", f"samples_per_step={block}"]
    budgets = {recipe: budget(recipe, *settings) for recipe in ("dpo_st", "self_training", "rft")}
    assert set(budgets.values()) == {rounds * (pairs + labels)}
    assert budget("supervised", *settings) == 0


def test_blocks_of_samples_join_up() -> None:
    found = plan("samples_per_step=2", "pairs.n=5")
    blocks = [s for s in found.steps if s.name.startswith("pair-samples-1") and isinstance(s.stage, Draw)]
    assert [s.name for s in blocks] == [f"pair-samples-1[{a}:{b}]" for a, b in ((0, 2), (2, 4), (4, 5))]
    assert [(s.stage.start, s.stage.count) for s in blocks] == [(0, 2), (2, 2), (4, 1)]
    assert names(found.step("pairs-1"), "samples") == [s.name for s in blocks]
    assert not any("part_of" in s.about for s in blocks), "a block is a step that plan lists"
    assert [s.about["part_of"] for s in found.steps if s.name.startswith("pair-samples-1") and s not in blocks] == [
        s.name for s in blocks
    ]


def test_no_two_draws_have_the_same_key() -> None:
    """Purpose, round, model and split tell draws apart; or two pools would hold the same samples."""
    for recipe in ("dpo_st", "self_training", "rft"):
        draws = [s for s in plan(f"recipe={recipe}", "samples_per_step=2").steps if isinstance(s.stage, Draw)]
        keys = {
            (s.stage.purpose, s.stage.round, s.stage.split, s.stage.start, s.inputs["model"][0].name) for s in draws
        }
        assert len(keys) == len(draws)


def prints(*overrides: str) -> dict[str, str | None]:
    return {s.name: s.fingerprint for s in plan(*overrides).steps}


def test_the_same_config_has_the_same_fingerprints_wherever_it_lies() -> None:
    before = prints()
    assert all(before.values())
    assert prints() == before
    assert prints("root=elsewhere", "checkpoint_every=1", "verifier_timeout=1") == before


Touched = Callable[[Step], bool]


def settings_of(step: Step, key: str) -> object:
    return getattr(step.stage, key, None)


@pytest.mark.parametrize(
    ("override", "touched"),
    [
        ("sft.learning_rate=1e-4", lambda s: s.stage.kind == "sft"),
        ("preference.learning_rate=1e-6", lambda s: s.stage.kind == "preference"),
        ("preference.loss.beta=0.2", lambda s: s.stage.kind == "preference"),
        ("preference.guard.every=5", lambda s: s.stage.kind == "preference"),
        ("pairs.pairer={name: random}", lambda s: s.stage.kind == "pairs"),
        ("pairs.held_out=0.2", lambda s: s.stage.kind == "pairs"),
        ("labels.selector={name: keep_all}", lambda s: s.stage.kind == "labels"),
        ("labels.n=3", lambda s: s.stage.kind == "labels" or s.name.startswith("label-samples")),
        ("pairs.n=2", lambda s: s.stage.kind == "pairs" or s.name.startswith("pair-samples")),
        ("verifier={name: numeric, tolerance: 1e-3}", lambda s: settings_of(s, "verifier") is not None),
        ("verifier=exact", lambda s: settings_of(s, "verifier") is not None),
        (
            "sampling.temperature=0.9",
            lambda s: (isinstance(s.stage, Draw) and "evaluate" not in s.name) or s.stage.kind == "preference",
        ),
        ("sampling.max_new_tokens=64", lambda s: settings_of(s, "sampling") is not None),
        ("evaluation.temperature=0.9", lambda s: isinstance(s.stage, Draw) and s.name.endswith("/sampled")),
        ("evaluation.ks=[1]", lambda s: s.stage.kind == "scores"),
        ("compute.dtype=bfloat16", lambda s: settings_of(s, "compute") is not None),
        ("problems.labelled=500", lambda s: s.name == "problems"),
        ("max_overlap=0.5", lambda s: s.name == "overlap"),
        ("vocab_size=400", lambda s: s.name == "base"),
        ("prompt.template='Q: {question}'", lambda s: settings_of(s, "format") is not None),
        ("seed=1", lambda s: settings_of(s, "seed") is not None),
    ],
)
def test_a_change_reaches_exactly_what_depends_on_it(override: str, touched: Touched) -> None:
    before, after = plan(), plan(override)
    changed = {s.name for s in after.steps} - {
        b.name for b in before.steps if b.fingerprint in {a.fingerprint for a in after.steps if a.name == b.name}
    }
    expected: set[str] = set()
    for step in after.steps:
        downstream = any(node.name in expected for nodes in step.inputs.values() for node in nodes)
        if touched(step) or downstream:
            expected.add(step.name)
    assert changed == expected
    assert changed
    assert override.startswith(("seed", "problems")) or "problems" not in changed


def test_a_verifier_of_ones_own_counts_by_its_content() -> None:
    body = (
        "from selfstudy.judging.verifiers import Judgement, Verifier\n"
        "class Mine(Verifier):\n    def verify(self, problem, text):\n        return Judgement('wrong', '', '{}')\n"
    )
    found = []
    for content in ("one", "one", "two"):
        Path("mine.py").write_text(body.format(content))
        found.append(prints("verifier=./mine.py"))
    assert found[0] == found[1]
    changed = {name for name in found[0] if found[0][name] != found[2][name]}
    assert {s.name for s in plan().steps if isinstance(s.stage, Verify)} <= changed
    assert not changed & {"problems", "base", "sft", "pair-samples-1"}


def test_a_plan_is_described_without_plug_ins() -> None:
    found = plan()
    lines = describe(found)
    assert [line["name"] for line in lines] == [s.name for s in found.steps]
    for line, step in zip(lines, found.steps, strict=True):
        assert line["artifact"] == f"{step.stage.kind}-{step.fingerprint}"
        assert line["inputs"] == {k: [n.name for n in nodes] for k, nodes in step.inputs.items()}
    assert isinstance(found.step("problems").inputs["data"][0], Leaf)
