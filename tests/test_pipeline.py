"""Plans: fingerprints, skipping, continuing, refusing."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest

from selfstudy.config import Place
from selfstudy.errors import ConfigError, ModelError
from selfstudy.pipeline import Leaf, Plan, leaf, run, select
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage
from selfstudy.storage.artifacts import Store
from selfstudy.types import Context

calls: list[str] = []


class Say(Stage):
    """Concatenates its inputs and its word."""

    kind: ClassVar[str] = "say"
    word: str
    place: Place = "here"

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        calls.append(self.word)
        before = "".join((a.path / "text").read_text() for nodes in inputs.values() for a in nodes if a.kind == "say")
        (out / "text").write_text(before + self.word)
        return {"length": len(before + self.word)}

    def forecast(self, sizes: Sizes) -> Forecast:
        return Forecast("one word", len(self.word))


@pytest.fixture
def ctx() -> Context:
    calls.clear()
    events: list[tuple[str, Any]] = []
    return Context(emit=lambda name, fields: events.append((name, fields)), progress=lambda *_: nullcontext())


def plan(first: str = "a", last: str = "c", source: Leaf | None = None) -> Plan:
    p = Plan()
    one = p.add("one", Say(word=first), {"data": source} if source else {})
    two = p.add("two", Say(word="b"), {"before": one})
    p.add("three", Say(word=last), {"before": [one, two]})
    return p


def test_runs_in_order_then_skips_all(tmp_path: Path, ctx: Context) -> None:
    done = run(plan().steps, Store(tmp_path), ctx)
    assert (done["three"].path / "text").read_text() == "aabc"
    run(plan().steps, Store(tmp_path), ctx)
    assert calls == ["a", "b", "c"]


def test_what_a_stage_took_is_noted_apart_from_what_it_is(tmp_path: Path, ctx: Context) -> None:
    manifest = run(plan().steps, Store(tmp_path), ctx)["three"].manifest()
    assert manifest["environment"]["peak_memory"] > 1e7  # bytes: this process has imported torch
    assert manifest["environment"]["seconds"] >= 0
    assert "peak_memory" not in json.dumps({**manifest, "environment": None})


def test_a_shared_prefix_is_shared_and_a_change_reaches_all_that_depends_on_it(tmp_path: Path, ctx: Context) -> None:
    store = Store(tmp_path)
    run(plan().steps, store, ctx)
    run(plan(last="d").steps, store, ctx)
    assert calls == ["a", "b", "c", "d"]
    run(plan(first="x").steps, store, ctx)
    assert calls[4:] == ["x", "b", "c"]


def test_fingerprints_count_kind_version_settings_inputs_but_no_places(monkeypatch: pytest.MonkeyPatch) -> None:
    def print_of(**settings: str) -> str | None:
        return Plan().add("one", Say(word="a", **settings), {}).fingerprint

    same = print_of()
    assert print_of(place="elsewhere") == same
    monkeypatch.setattr(Say, "version", 2)
    assert print_of() != same


def test_leaves_count_by_content(tmp_path: Path) -> None:
    file = tmp_path / "data.txt"
    prints = []
    for text in ("1", "2"):
        file.write_text(text)
        prints.append([s.fingerprint for s in plan(source=leaf("data", (file,), tmp_path)).steps])
    assert all(a != b for a, b in zip(*prints, strict=True))


def test_unresolved_leaf_can_be_planned_but_not_run(tmp_path: Path, ctx: Context) -> None:
    p = plan(source=Leaf("org/model", (), None))
    assert [step.fingerprint for step in p.steps] == [None] * 3
    with pytest.raises(ConfigError, match="org/model, which is not on this machine"):
        run(p.steps, Store(tmp_path), ctx)


def test_until_and_only(tmp_path: Path, ctx: Context) -> None:
    p, store = plan(), Store(tmp_path)
    with pytest.raises(ConfigError, match="needs 'one', which does not exist yet"):
        run(select(p, only="two"), store, ctx)
    run(select(p, until="two"), store, ctx)
    assert calls == ["a", "b"]
    run(select(p, only="three"), store, ctx)
    assert calls == ["a", "b", "c"]
    with pytest.raises(ConfigError, match="no step named 'tree'; did you mean 'three'"):
        select(p, until="tree")


def test_a_step_comes_with_its_parts() -> None:
    p = Plan()
    for name, whole in (("before", None), ("draw", None), ("draw/verdicts", "draw"), ("after", None)):
        p.add(name, Say(word=name), {}, about={"part_of": whole} if whole else None)
    assert [step.name for step in select(p, until="draw")] == ["before", "draw", "draw/verdicts"]
    assert [step.name for step in select(p, only="draw")] == ["draw", "draw/verdicts"]
    assert [step.name for step in select(p, until="before")] == ["before"]


def test_an_error_names_the_step_and_stays_of_its_kind(
    tmp_path: Path, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> dict[str, Any]:
        raise ModelError("the model is damaged; fetch it again")

    monkeypatch.setattr(Say, "run", cannot)
    with pytest.raises(ModelError, match=r"^step one: the model is damaged; fetch it again$"):
        run(plan().steps, Store(tmp_path), ctx)
