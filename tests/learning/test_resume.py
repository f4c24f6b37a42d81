"""A training that was killed: the bytes of one that was not, or a word on why not."""

from __future__ import annotations

import json

import pytest
import torch

from selfstudy.errors import StorageError, TrainingError
from selfstudy.learning.objectives import Imitation
from selfstudy.learning.trainer import train
from selfstudy.types import Group
from tests.learning.conftest import KILLED, all_items, as_bytes, dpo, make_model, settings, sft


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_resumed_at_every_step_equals_straight(tmp_path, make_ctx, compute, family, kind):
    """Byte for byte, with dropout on, checkpoints every step, every 2nd and never before the kill."""
    changes = {"attention_dropout": 0.3} if family == "causal" else {"dropout_rate": 0.3}
    ctx = make_ctx(1000)

    def run(workdir, every, kill_after=None):
        workdir.mkdir(exist_ok=True)
        model = make_model(family, **changes)
        objective = sft() if kind == "sft" else dpo(model, compute, ctx)

        def after(step):
            if step == kill_after:
                raise KILLED
            return False

        facts = train(
            model,
            objective,
            settings(),
            compute=compute,
            seed=3,
            workdir=workdir,
            ctx=make_ctx(every),
            after_step=after,
        )
        return as_bytes(model), (workdir / "train_log.jsonl").read_bytes(), facts

    straight = run(tmp_path / "straight", 1000)
    for every, kill_after in [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (2, 5), (100, 3)]:
        workdir = tmp_path / f"{every}-{kill_after}"
        with pytest.raises(RuntimeError, match="killed"):
            run(workdir, every, kill_after)
        if kill_after == 3:  # what kills while a checkpoint is written or an old one removed leave behind
            (workdir / ".step-000003.writing").mkdir()
            (workdir / ".step-000003.writing" / "model.safetensors").write_bytes(b"half")
            if every == 1:
                (workdir / "step-000000").mkdir()
        assert run(workdir, every) == straight
    assert len({line["loss"] for line in map(json.loads, straight[1].splitlines())}) == 6


@pytest.mark.parametrize("every", [1, 1000])
def test_a_step_that_is_not_finite_is_where_the_next_run_begins(every, tmp_path, make_ctx, compute):
    groups = [Group(f"p/{n}", (5, 6, 7 + n), ((9, 10), (12, 8))) for n in range(3)]
    done = []

    def run():
        model = make_model("causal", tie_word_embeddings=False)
        with torch.no_grad():
            model.get_input_embeddings().weight[9] = torch.nan  # the third problem's prompt, too
        train(
            model,
            Imitation(groups, [item for item in all_items(groups) if item.completions == (1,)]),
            settings(max_steps=3, batch_size=1, order="given"),
            compute=compute,
            seed=0,
            workdir=tmp_path,
            ctx=make_ctx(every),
            after_step=lambda step: bool(done.append(step)),
        )

    for steps in ([1, 2], [1, 2], [1, 2]):  # none is taken again
        with pytest.raises(TrainingError, match=r"step 3: .*: p/2\. .*the same command begins with it again"):
            run()
        assert done == steps
        assert [path.name for path in tmp_path.glob("step-*")] == ["step-000002"]
        assert len((tmp_path / "train_log.jsonl").read_text().splitlines()) == 2


def test_checkpoint_of_another_model_is_refused(tmp_path, make_ctx, compute):
    (tmp_path / "w").mkdir()
    arguments = {"compute": compute, "seed": 0, "workdir": tmp_path / "w"}
    train(make_model("causal"), sft(), settings(max_steps=3), ctx=make_ctx(2), **arguments)
    assert [path.name for path in sorted((tmp_path / "w").glob("step-*"))] == ["step-000002"]
    with pytest.raises(StorageError, match="another model"):
        train(make_model("seq2seq"), sft(), settings(max_steps=3), ctx=make_ctx(2), **arguments)
    (tmp_path / "w" / "step-000002" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(StorageError, match="cannot be read"):
        train(make_model("causal"), sft(), settings(max_steps=3), ctx=make_ctx(2), **arguments)


def test_missing_log_lines_are_refused(tmp_path, make_ctx, compute):
    train(
        make_model("causal"), sft(), settings(max_steps=3), compute=compute, seed=0, workdir=tmp_path, ctx=make_ctx(2)
    )
    (tmp_path / "train_log.jsonl").write_text("")
    with pytest.raises(StorageError, match="2 steps are done but 0"):
        train(
            make_model("causal"),
            sft(),
            settings(max_steps=3),
            compute=compute,
            seed=0,
            workdir=tmp_path,
            ctx=make_ctx(2),
        )
