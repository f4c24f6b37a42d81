"""The trainers of the learning benchmark learn the same, and its tables are printed."""

from __future__ import annotations

import pytest
from contenders.models import load
from learners import data

import learning
from selfstudy.errors import DataError
from tests.benchmarks.conftest import PROBLEMS

pytest.importorskip("trl")
pytest.importorskip("datasets")


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_trainers_take_the_same_steps(kind, trained, tmp_path, monkeypatch, capsys):
    """Both learn the same weights from the same tokens, so what is compared is the same work."""
    family = load(trained)[1].family
    monkeypatch.setattr(learning, "MODELS", {"toy": family})
    monkeypatch.setattr(learning, "trained", lambda *_: trained)
    learnt = []

    def alone(who, task, weights):
        learnt.append((who, task.variant, learning.learn(who, task, weights)))
        return learnt[-1][2]

    monkeypatch.setattr(learning, "alone", alone)
    texts = [["He has 3.\n#### 3", "#### 4 or so", f"Twice.\n#### {n}", "many", "5"] for n in range(8)]
    drawn = [(problem, [(text, "stop") for text in some]) for problem, some in zip(PROBLEMS, texts, strict=False)]
    monkeypatch.setattr(learning, "drawn", lambda *_: drawn)
    options = f"--models toy --kinds {kind} --dtypes float32 --batch 4 --steps 3 --warm 1 --repeats 1 --threads 1"
    code = learning.main([*options.split(), "--cache", str(tmp_path), "--tokens-per-batch", "300", "--vocabulary", "0"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    ours = next(found for who, _, found in learnt if who == "ours")
    assert len(ours.computing) == 4
    for who, variant, found in learnt:
        if who != "shuffled":  # it learns in another order
            assert found.losses == pytest.approx(ours.losses[: len(found.losses)], rel=2e-3), f"{who} {variant}"
        if who in learning.THEIRS:
            assert found.computing == ()
    tried = {(variant.micro_batches, variant.padding_free) for who, variant, _ in learnt if who == "theirs"}
    free = [False, True] if (kind, family) == ("sft", "causal") else [False]
    assert tried == {(count, padding_free) for count in (1, 2, 4) for padding_free in free}
    assert next(found for who, _, found in learnt if who == "shuffled").losses != ours.losses
    assert "of what they moved" in printed
    targets = printed.split("### Targets")[1]
    for target in (f"{learning.UNITS[kind]}/s ÷", "groups in one step", "items shuffled", "that is padding"):
        assert target in targets
    apart = next(line for line in targets.splitlines() if "weights apart after 4 steps" in line).split("|")
    assert 0 < float(apart[3]) < 1e-3


def test_too_few_items_are_refused(trained, tmp_path, monkeypatch):
    """Where its data ends the other trainer's step is a short one, and this one's is not."""
    monkeypatch.setattr(learning, "MODELS", {"toy": load(trained)[1].family})
    monkeypatch.setattr(learning, "trained", lambda *_: trained)
    monkeypatch.setattr(learning, "drawn", lambda *_: [(PROBLEMS[0], [("many", "stop")])])
    with pytest.raises(DataError, match="1 pairs of 7 problems are less than 20 steps of 12; raise --problems"):
        learning.main(["--models", "toy", "--kinds", "dpo", "--problems", "7", "--cache", str(tmp_path)])


def test_unfinished_samples_stay_unfinished(trained):
    """They neither end nor get an answer, or the model would learn from pairs that nobody drew."""
    form = load(trained)[1]
    stop = form.tokenizer.eos_token_id
    text = form.notation.rewrite(PROBLEMS[0].solution)
    found = [(PROBLEMS[0], [(text, "length"), ("He has 3.", "stop")])]
    groups, items = data.pairs(found, form)
    losers = [groups[0].completions[item.completions[1]] for item in items]
    assert sorted(loser[-1] == stop for loser in losers) == [False, True]
    assert not any("####" in form.decode(loser) for loser in losers)
    ((gold, *samples),) = [group.completions for group in data.solutions(found, form)[0]]
    assert gold[-1] == stop
    assert form.decode(samples[0]) == form.gold(PROBLEMS[0]).text.split("####")[0].strip()
