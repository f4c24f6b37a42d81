"""The trainers of the learning benchmark learn the same, and its tables are printed."""

from __future__ import annotations

import pytest
from contenders.models import load

import learning
from tests.benchmarks.conftest import PROBLEMS

pytest.importorskip("trl")
pytest.importorskip("datasets")


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_trainers_take_the_same_steps(kind, trained, tmp_path, monkeypatch, capsys):
    """Both learn the same weights from the same tokens, so what is compared is the same work."""
    family = load(trained)[1].family
    monkeypatch.setattr(learning, "MODELS", {"toy": family})
    monkeypatch.setattr(learning, "trained", lambda *_: trained)
    monkeypatch.setattr(learning, "alone", learning.learn)
    texts = [["He has 3.\n#### 3", "#### 4 or so", f"Twice.\n#### {n}", "many", "5"] for n in range(8)]
    monkeypatch.setattr(learning, "drawn", lambda *_: list(zip(PROBLEMS, texts, strict=False)))
    options = f"--models toy --kinds {kind} --dtypes float32 --batch 5 --steps 3 --warm 1 --repeats 1 --threads 1"
    code = learning.main([*options.split(), "--cache", str(tmp_path), "--tokens-per-batch", "300", "--vocabulary", "0"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    rows = [
        line.split("|") for line in printed.splitlines() if line.startswith(("| this trainer", "| TRL", "| `trans"))
    ]
    losses = {row[1].strip(): float(row[5]) for row in rows}
    ours, *others = (loss for name, loss in losses.items() if "shuffled" not in name)  # those learn in another order
    assert others == [pytest.approx(ours, rel=2e-3)] * (2 if family == "causal" else 1)
    assert f"{losses['this trainer, items shuffled']:.4f}" != f"{ours:.4f}"
    assert "of what they moved" in printed
    assert f"{learning.UNITS[kind]}/s ÷" in printed.split("### Targets")[1]
