"""What is kept of a run is read again, until a setting of the run is another."""

import json

import kept
import pytest


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Keep findings in a folder of the test; return the overrides of the runs that were carried out."""
    monkeypatch.setattr(kept, "KEPT", tmp_path / "kept")
    carried_out = []

    def run(config, overrides, **_):
        carried_out.append(overrides)
        return {"accuracy": 0.25, "right": [0, 1]}

    monkeypatch.setattr(kept.selfstudy, "run", run)
    return carried_out


def test_a_run_is_carried_out_once_for_its_settings(runs, tmp_path) -> None:
    """The name alone does not say that it is the same run."""

    def ask(seed: int):
        settings = ["model=llama-tiny", f"seed={seed}", f"root={tmp_path / 'runs'}"]
        return kept.kept("from_scratch", settings, lambda results: results, name="one")

    assert ask(0) == ask(0) == {"accuracy": 0.25, "right": [0, 1]}
    assert len(runs) == 1
    written = (tmp_path / "kept" / "one.json").read_text(encoding="utf-8")
    assert json.loads(written)["found"]["right"] == [0, 1]
    assert len(written.splitlines()) == 6  # one for every finding, so that changes can be read
    ask(1)
    assert len(runs) == 2
    ask(0)
    assert len(runs) == 3


def test_what_else_the_findings_depend_on_counts(runs, tmp_path) -> None:
    """A base model's lessons are runs of their own: other lessons are other findings of the same base model."""

    def ask(lesson: int):
        settings = ["model=llama-tiny", f"root={tmp_path / 'runs'}"]
        also = [("from_scratch", [*settings, f"seed={lesson}"])]
        return kept.kept("from_scratch", settings, lambda results: results, name="one", also=also)

    ask(0), ask(0)
    assert len(runs) == 1
    ask(1)
    assert len(runs) == 2


def test_what_is_unfinished_is_not_kept(runs, tmp_path, monkeypatch) -> None:
    """A run that stops leaves nothing that could be taken for its result."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(kept.selfstudy, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        kept.kept("from_scratch", [f"root={tmp_path / 'runs'}"], dict, name="one")
    assert not (tmp_path / "kept").exists()
