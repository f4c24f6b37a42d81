"""Pseudo-labels as a stage: right ones alone, gold ones compared with but not written."""

from __future__ import annotations

from pathlib import Path

from selfstudy.models.format import FormatSettings, bind
from selfstudy.models.load import load_tokenizer
from selfstudy.stages.pseudo_label import LabelSettings, PseudoLabel
from selfstudy.storage.records import read_records
from selfstudy.types import SILENT, Completion, Example, Sample
from tests.stages.builders import artifact, model_folder, problem, verdict


def test_right_distinct_samples_without_the_gold_solution(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model", "causal")
    format = bind(FormatSettings(), load_tokenizer(model.path), "causal")
    gold = format.gold(problem(1))
    drawn: list[list[Completion]] = [
        [Completion("a b", (10, 11, 1)), Completion("c d", (12, 13, 1)), Completion("x", (14, 1))],
        # The gold solution found again, and another one.
        [Completion(gold.text, gold.token_ids), Completion("e f", (15, 16, 1)), Completion("y", (17, 1))],
        [Completion("no", (18, 1)), Completion("none", (19, 1)), Completion("nothing", (20, 1))],
    ]
    outcomes = ["right", "right", "wrong"]
    samples = [Sample(f"p/{n:03d}", k, c, -1.0) for n, row in enumerate(drawn) for k, c in enumerate(row)]
    verdicts = [verdict(f"p/{n:03d}", k, outcomes[k] if n < 2 else "unparsed") for n in range(3) for k in range(3)]
    unlabelled = [problem(n, solved=False) for n in range(3)]
    given = {
        "model": (model,),
        "problems": (artifact(tmp_path / "problems", {"unlabelled": unlabelled, "labelled": [problem(1)]}),),
        "samples": (artifact(tmp_path / "s", {"part-00000": samples}),),
        "verdicts": (artifact(tmp_path / "v", {"verdicts": verdicts}),),
    }
    out = tmp_path / "out"
    out.mkdir()
    metrics = PseudoLabel(settings=LabelSettings(), format=FormatSettings(), seed=0).run(given, out, SILENT)
    labels = list(read_records(out / "labels.jsonl", Example))
    assert [(label.problem_id, label.completion.text, label.source) for label in labels] == [
        ("p/000", "a b", "pseudo"),
        ("p/000", "c d", "pseudo"),
        ("p/001", "e f", "pseudo"),
    ]
    assert metrics["pseudo_labels"] == metrics["kept"] == 3
    assert (metrics["right"], metrics["duplicates"], metrics["covered"], metrics["problems"]) == (4, 1, 2, 3)
