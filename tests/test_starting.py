"""A first config: whatever is written, ``plan`` accepts as it is, and what was guessed stands beside it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from selfstudy.cli import main
from selfstudy.errors import ConfigError, DataError
from selfstudy.recipes.prepare import prepare
from selfstudy.starting import judging_of, write_config

OUT = Path("config.yaml")


def rows(count: int = 30, solved: int = 20) -> list[dict[str, Any]]:
    return [
        {
            "nr": n,
            "problem": f"Tom has {n} apples and buys {n} more. How many has he?",
            "final_answer": 2 * n,
            "rationale": f"He has {n} + {n} = <<{n}+{n}={2 * n}>>{2 * n} apples." if n < solved else None,
        }
        for n in range(count)
    ]


def write(name: str, records: Sequence[dict[str, Any]]) -> Path:
    path = Path(name)
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(record) + "\n\n" for record in records))  # blank lines are no rows
        case ".json":
            path.write_text(json.dumps(records))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(list(records)), path)
        case ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(records[0]))
                writer.writeheader()
                writer.writerows(records)
    return path


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config() -> dict[str, Any]:
    tree = yaml.safe_load(OUT.read_text(encoding="utf-8"))
    assert isinstance(tree, dict)
    return tree


def planned() -> dict[str, int]:
    """Return the sizes of the splits, by the plan of what was written."""
    return dict(prepare(str(OUT)).sizes().problems)


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.json", "mine.csv", "mine.parquet"])
def test_plan_accepts_what_is_written(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["init", str(write(name, rows()))], ["plan", "config.yaml"]):
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 0, capsys.readouterr().err
    assert "30 problems, 20 with a worked solution; all answers are numbers" in capsys.readouterr().out
    train = config()["problems"]["train"]
    columns = {"question": "problem", "answer": "final_answer", "solution": "rationale", "answers": "auto"}
    assert train == {"name": "tabular", "path": name, **columns}
    assert config()["verifier"] == "numeric"
    sizes = planned()
    assert (sizes["dev"], sizes["test"], sizes["unlabelled"]) == (3, 3, 24)
    assert 14 <= sizes["labelled"] <= 20


def test_the_same_file_gives_the_same_config_and_nothing_is_written_over() -> None:
    path = write("mine.csv", rows())
    write_config(path, OUT, {})
    write_config(path, Path("again.yaml"), {})
    assert OUT.read_text().replace("config.yaml", "") == Path("again.yaml").read_text().replace("again.yaml", "")
    with pytest.raises(ConfigError, match=r"config\.yaml is there already; name another file with --out"):
        write_config(path, OUT, {})


def test_comments_say_what_was_found_and_what_to_change() -> None:
    write_config(write("mine.jsonl", rows()), OUT, {"question": "problem"})
    text = OUT.read_text()
    assert "# Found: 30 rows, 30 of them usable, 20 with a worked solution.\n" in text
    assert 'question  is column "problem", as you said: 5' in text
    assert 'solution  is column "rationale", by its name: ' in text
    assert "not used: nr (30 texts of 2 characters on average)" in text
    assert "model: tiny-llama" in text
    assert "20 solutions to learn from; few" in text
    assert "the other 10 problems count as answers-only" in text


def test_answers_that_solutions_state() -> None:
    """GSM8K's own form: the answer column is a worked solution, and ends in the answer."""
    records = [
        {"question": r["problem"], "answer": f"{r['rationale']}\n#### {r['final_answer']}"} for r in rows(30, 30)
    ]
    write_config(write("mine.jsonl", records), OUT, {})
    train = config()["problems"]["train"]
    assert (train["answer"], train["solution"]) == (None, "answer")
    assert "what stands behind #### at the end" in OUT.read_text()
    assert planned()["labelled"] == 24


@pytest.mark.parametrize(
    ("answers", "verifier", "form"),
    [
        (["1", "2.5", "-3"], "numeric", "auto"),
        (["1", "2", "42 apples"], "numeric", "auto"),
        (["1"] * 39 + ["none"], "numeric", "number"),
        (["1"] * 9 + ["none"], "exact", "text"),
        (["Room 3", "Room 4"], "exact", "text"),
        (["007", "008"], "exact", "text"),
        (["a", "B", "(D)", "c."], "{name: choice, letters: ABCD}", "text"),
        (["Y", "N"], "{name: choice, letters: NY}", "text"),
        (["A dog", "B"], "exact", "text"),
        (["Paris", "Rome"], "exact", "text"),
    ],
)
def test_how_answers_are_judged(answers: list[str], verifier: str, form: str) -> None:
    judging = judging_of(answers)
    assert (judging.verifier, judging.answers) == (verifier, form)


@pytest.mark.parametrize(("answers", "name"), [("ABCD", "choice"), (["Paris", "Rome"], "exact")])
def test_letters_and_texts_are_planned_too(answers: Sequence[str], name: str) -> None:
    records = [r | {"final_answer": answers[n % len(answers)], "rationale": "So it is."} for n, r in enumerate(rows())]
    write_config(write("mine.csv", records), OUT, {"solution": "rationale"})
    verifier = config()["verifier"]
    assert (verifier if isinstance(verifier, str) else verifier["name"]) == name
    assert planned()["labelled"] == 24


@pytest.mark.parametrize(("solved", "steps"), [(6, 50), (120, 120), (400, 300)])
def test_few_solutions_get_few_steps(solved: int, steps: int) -> None:
    records = [{"question": f"What is {n} + 1?", "answer": n + 1} for n in range(450)]
    records = [r | {"solution": f"It is {n} + 1."} if n < solved else r for n, r in enumerate(records)]
    write_config(write("mine.csv", records), OUT, {"solution": "solution"})
    assert config()["sft"]["max_steps"] == steps


def test_a_file_without_solutions_is_told_what_is_lacking(capsys: pytest.CaptureFixture[str]) -> None:
    records = [{"question": r["problem"], "answer": r["final_answer"], "city": "Bonn"} for r in rows()]
    write_config(write("mine.csv", records), OUT, {})
    said = " ".join(capsys.readouterr().out.split())
    assert "no column holds worked solutions (not used: city); if one does, name it: --solution COLUMN" in said
    assert "the first fine-tuning learns from those alone" in OUT.read_text()
    assert config()["problems"]["solved"]["name"] == "word_problems"
    assert planned()["labelled"] == 1000
    texts = [record | {"answer": f"city {n}"} for n, record in enumerate(records)]
    with pytest.raises(DataError, match=r"no row has a worked solution.* name it with --solution COLUMN"):
        write_config(write("texts.csv", texts), Path("other.yaml"), {})
    assert not Path("other.yaml").exists()


def test_questions_that_are_nearly_the_same_are_to_be_taken_out_of_the_file() -> None:
    records = [r | {"problem": f"{r['problem']} {'Count again. ' * (n % 2)}"} for n, r in enumerate(rows(4, 4) * 5)]
    with pytest.raises(DataError, match=r"^\d of 2 problems of dev .*: take one of the two out of the file") as caught:
        write_config(write("mine.csv", records), OUT, {})
    assert "listed in" not in str(caught.value)
    assert not OUT.exists()
    OUT.write_text("")
    with pytest.raises(DataError, match=r"nosuch\.csv"):  # rather than that there is a config
        write_config(Path("nosuch.csv"), OUT, {})


def test_a_hold_out_of_a_few_problems_is_said_to_be_one() -> None:
    write_config(write("mine.csv", rows()), OUT, {})
    assert "3 problems each are few: an accuracy of 50% is then known to ± 57 points" in OUT.read_text()


def test_rows_that_cannot_be_used_are_counted_and_left_out() -> None:
    path = write("mine.csv", rows())
    path.write_text(path.read_text() + ',,,\r\n\r\n99,"What\n now?",,\r\n')
    found = write_config(path, OUT, {})
    assert (found.rows, len(found.problems), len(found.bad)) == (32, 30, 2)
    assert config()["problems"]["on_bad_rows"] == "skip"
    assert "2 rows cannot be used; the first: mine.csv:" in OUT.read_text()
    assert planned()["unlabelled"] == 24


def test_few_answers_that_are_no_numbers_are_left_out() -> None:
    records = rows(60, 60)
    records[3]["final_answer"] = "it depends"
    found = write_config(write("mine.jsonl", records), OUT, {})
    assert len(found.problems) == 59
    assert config()["problems"]["train"]["answers"] == "number"
    assert "all answers but 1 are numbers" in OUT.read_text()
    planned()


@pytest.mark.parametrize(("length", "tokens"), [(20, 64), (300, 256), (5000, 512)])
def test_room_for_the_longest_solution(length: int, tokens: int) -> None:
    records = rows(30, 30)
    records[0]["rationale"] = "a" * length
    write_config(write("mine.jsonl", records), OUT, {})
    assert config()["sampling"]["max_new_tokens"] == tokens
    assert ("1 of them may be too long" in OUT.read_text()) == (length == 5000)


def test_odd_names_survive_yaml() -> None:
    names = {"problem": "true question: #1\nof 'two'", "final_answer": "null", "rationale": "größe, [x]"}
    records = [{names.get(key, key): value for key, value in record.items()} for record in rows()]
    given = {"question": names["problem"], "answer": names["final_answer"], "solution": names["rationale"]}
    write_config(write("my file: 1.jsonl", records), OUT, given)
    train = config()["problems"]["train"]
    assert {role: train[role] for role in given} == given
    planned()


def test_nested_columns_are_left_alone_and_named_where_nothing_else_is_there() -> None:
    records = [record | {"meta": {"level": 1}, "tags": ["a"]} for record in rows()]
    write_config(write("mine.jsonl", records), OUT, {})
    assert "meta (lists or the like, not texts)" in OUT.read_text()
    planned()
    wrapped = [{"data": record} for record in rows()]
    with pytest.raises(DataError, match=r"no column is clearly the question; there are: data \(lists .*--question"):
        write_config(write("wrapped.jsonl", wrapped), Path("other.yaml"), {})


def test_questions_that_are_asked_again_would_stand_in_training_and_in_test() -> None:
    path = write("mine.csv", [*rows(), *rows()])
    with pytest.raises(
        DataError,
        match=r"6 of 6 problems of dev are asked in training too.*mine\.csv, 30 rows repeat a question: take them out",
    ):
        write_config(path, OUT, {})
    assert not OUT.exists()


def test_mistakes_are_told_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    write("mine.csv", rows())
    for arguments, message in (
        (["none.csv"], "none.csv: no such file"),
        (["mine.csv", "--answer", "final_anser"], "no such column; did you mean 'final_answer'?"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["init", *arguments])
        assert stopped.value.code == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert not OUT.exists()
