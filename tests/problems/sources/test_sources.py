"""Every source keeps the contract, and each data set is read as it is written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from selfstudy.errors import DataError, PluginError
from selfstudy.judging.answers import find_answer, normalise
from selfstudy.plugins import available
from selfstudy.problems.sources import (
    FAMILY,
    BadRow,
    ProblemSource,
    SourceSpec,
    load_source,
    read_problems,
)
from selfstudy.types import Problem

OWN = Path(__file__).parents[2] / "data" / "problems"

# Settings that read our own fixtures, and how many problems they hold.
FIXTURES: dict[str, tuple[dict[str, Any], int]] = {
    "asdiv": ({"path": str(OWN)}, 2),
    "gsm8k": ({"path": str(OWN), "split": "dev"}, 3),
    "msat": ({"count": 7}, 7),
    "multiarith": ({"path": str(OWN)}, 2),
    "stories": ({"count": 7}, 7),
    "svamp": ({"path": str(OWN)}, 2),
    "tabular": ({"path": str(OWN / "own.csv")}, 2),
    "word_problems": ({"count": 7}, 7),
}


def make(name: str, **settings: Any) -> ProblemSource:
    return load_source(TypeAdapter(SourceSpec).validate_python({"name": name, **settings}))


def read(name: str, **settings: Any) -> list[Problem]:
    return read_problems(make(name, **settings), on_bad_rows="refuse")[0]


@pytest.mark.parametrize("name", available(FAMILY))
def test_contract(name: str) -> None:
    settings, count = FIXTURES[name]
    source = make(name, **settings)
    problems, bad = read_problems(source, on_bad_rows="refuse")
    assert len(problems) == count
    assert not bad
    assert len({problem.id for problem in problems}) == count
    assert read_problems(source, on_bad_rows="skip") == (problems, [])
    assert read(name, **settings, limit=1) == problems[:1]
    assert all(file.is_file() for file in source.files())
    assert "path" not in source.identity() or source.identity()["path"] is None
    for problem in problems:
        assert problem.id.count("/") in (1, 2)
        assert problem.question == problem.question.strip() != ""
        assert problem.answer == problem.answer.strip() != ""
        json.dumps(dict(problem.meta), allow_nan=False)
        if problem.solution is not None:
            assert find_answer(problem.solution) == problem.answer


@pytest.mark.parametrize("file", ["train.csv", "data/Train.JSONL", "train.json", "train.parquet"])
def test_a_file_by_itself_is_told_how_it_is_written(file: str) -> None:
    with pytest.raises(ValueError, match=rf"written {{name: tabular, path: {re.escape(file)}}}"):
        TypeAdapter(SourceSpec).validate_python(file)
    with pytest.raises(ValueError, match="name: tabular"):
        TypeAdapter(SourceSpec).validate_python({"name": file, "question": "q"})


def test_gsm8k_reads_both_forms() -> None:
    first, second, third = read("gsm8k", **FIXTURES["gsm8k"][0])
    assert (first.id, first.answer) == ("gsm8k/dev/00000", "36")
    assert (second.id, second.answer) == ("gsm8k/dev/00001", "3000")
    assert (third.id, third.answer) == ("gsm8k/dev/00003", "9")  # a row's number is its place in the file
    assert third.solution == "She pays 4.50 * 2 = <<4.50*2=9>>9 dollars.\n#### 9"
    assert first.solution == "Ira packs 3 * 12 = <<3*12=36>>36 pears.\n#### 36"


def write_jsonl(path: Path, *records: object) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


GOOD = {"question": "q?", "answer": "s\n#### 4", "ans": 4.0}
BAD = (
    {"question": "q?", "answer": "s\n#### 5", "ans": 4.0},
    {"question": "q?", "answer": "no line"},
    {"question": "", "answer": "s\n#### 4"},
    {"answer": "s\n#### 4"},
)


@pytest.mark.parametrize("cell", ["", "  ", "\t", None])
def test_a_cell_without_a_solution_is_no_solution(cell: str | None, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", {"question": "q?", "answer": "4", "solution": cell})
    (problem,) = read("tabular", path=str(path), solution="solution")
    assert (problem.answer, problem.solution) == ("4", None)


def test_bad_rows_are_refused_by_file_line_field_and_reason(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", GOOD, *BAD)
    with pytest.raises(DataError) as caught:
        read("gsm8k", path=str(path))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}:2: ans: is 4, but the solution ends in #### 5"
    assert lines[1].startswith(f"{path}:3: answer: has no last line")
    assert lines[2] == f"{path}:4: question: is empty"
    assert lines[3].startswith(f"{path}:5: question: no such field")
    assert "on_bad_rows: skip" in lines[4]


def test_many_bad_rows_are_counted(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", *(BAD * 3))
    with pytest.raises(DataError, match="12 bad rows in all"):
        read("gsm8k", path=str(path))


def test_bad_rows_are_skipped_and_listed(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", BAD[0], GOOD, *BAD[1:])
    problems, bad = read_problems(make("gsm8k", path=str(path)), on_bad_rows="skip")
    assert [problem.id for problem in problems] == ["gsm8k/train/00001"]
    assert [(row.line, row.field) for row in bad] == [(1, "ans"), (3, "answer"), (4, "question"), (5, "question")]


def test_no_problem_at_all_is_an_error(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", *BAD)
    with pytest.raises(DataError, match=r"no problems; all 4 rows are bad, the first: .*train\.jsonl:1: ans"):
        read_problems(make("gsm8k", path=str(path)), on_bad_rows="skip")
    path.write_text("")
    with pytest.raises(DataError, match="no problems"):
        read("gsm8k", path=str(path))


def test_ids_must_be_unique(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("question,answer,key\na,1,x\nb,2,x\n")
    with pytest.raises(DataError, match="id 'twice/x' is there twice, for the questions 'a' and 'b'"):
        read("tabular", path=str(path), id="key")


def test_svamp_joins_body_and_question() -> None:
    first, second = read("svamp", path=str(OWN / "SVAMP.json"))
    assert first.question == "A crate holds 8 jars. If there are 24 jars, how many crates are there?"
    assert (first.id, first.answer) == ("svamp/test/own-1", "3")
    assert dict(first.meta) == {"type": "Common-Division"}  # the equation would give the solution away
    assert second.question == "Ida had 9 kites and lost 2. How many kites are left?"


def test_multiarith_reads_the_published_form(tmp_path: Path) -> None:
    first, second = read("multiarith", path=str(OWN))
    assert first.question == "Ugo had 4 bins with 6 cans each. He sold 5 cans. How many cans are left?"
    assert [(p.id, p.answer) for p in (first, second)] == [("multiarith/test/0", "19"), ("multiarith/test/7", "3")]
    (tmp_path / "MultiArith.json").write_text('[{"iIndex": 0, "sQuestion": "q", "lSolutions": [1.0, 2.0]}]')
    with pytest.raises(DataError, match=r"MultiArith.json:1: lSolutions: a list of one number"):
        read("multiarith", path=str(tmp_path))


def test_asdiv_keeps_items_with_one_number() -> None:
    first, second = read("asdiv", path=str(OWN))
    assert first.question == "Ana picks 7 plums & 2 figs. How many fruits are there?"
    assert dict(first.meta) == {"type": "Addition", "unit": "fruits"}  # the formula would give the solution away
    assert (second.id, second.answer) == ("asdiv/test/own-0002", "1007.5")
    assert second.question == "If Bo walks 3 km and 4 km, how far is that?"


@pytest.mark.parametrize(
    ("formula", "answer", "solution"),
    [
        ("(3+4)*2=14", "14", "3 + 4 = <<3+4=7>>7\n7 * 2 = <<7*2=14>>14\n#### 14"),
        ("11-(2*3)=5", "5", "2 * 3 = <<2*3=6>>6\n11 - 6 = <<11-6=5>>5\n#### 5"),
        ("0.5+2.25=2.75", "2.75", "0.5 + 2.25 = <<0.5+2.25=2.75>>2.75\n#### 2.75"),
        ("7/2=3 r1", "3", None),  # not what the formula gives
        ("10/3=3.33", "3.33", None),  # not exact
        ("lcm(3,4)=12", "12", None),  # no arithmetic
        ("9=9", "9", None),  # no operation
        (None, "9", None),
    ],
)
def test_asdiv_solutions_come_from_exact_formulas(
    tmp_path: Path, formula: str | None, answer: str, solution: str | None
) -> None:
    """Line by line in the order of computing, each annotated; none where the formula does not give the answer."""
    told = "" if formula is None else f"<Formula>{formula}</Formula>"
    item = f'<Problem ID="a"><Body>b</Body><Question>q?</Question><Answer>{answer} (cm)</Answer>{told}</Problem>'
    (tmp_path / "ASDiv.xml").write_text(f"<all>{item}</all>")
    (problem,) = read("asdiv", path=str(tmp_path))
    assert problem.solution == solution


def test_a_fold_that_is_no_text_is_refused(tmp_path: Path) -> None:
    for path in OWN.glob("*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "asdiv-a.fold3.txt").write_bytes(b"\xff\xfe0001")
    with pytest.raises(DataError, match=r"asdiv-a\.fold3\.txt: not UTF-8 text .*; fetch it again"):
        read("asdiv", path=str(tmp_path), fold=3, part="all")


def test_asdiv_folds() -> None:
    def ids(**settings: Any) -> list[str]:
        return [problem.id[-4:] for problem in read("asdiv", path=str(OWN), **settings)]

    assert ids(fold=0, part="held_out") == ids(fold=1, part="rest") == ["0001"]
    assert ids(fold=1, part="held_out") == ids(fold=0, part="rest") == ["0002"]
    assert ids(fold=3, part="all") == ids() == ["0001", "0002"]
    assert [file.name for file in make("asdiv", path=str(OWN), fold=1, part="held_out").files()] == [
        "ASDiv.xml",
        "asdiv-a.fold1.txt",
    ]
    with pytest.raises(ValueError, match="says nothing without fold"):
        make("asdiv", part="rest")


BOMB = (
    '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>\n<x><Problem ID="1">&b;</Problem></x>'
)


@pytest.mark.parametrize(("text", "message"), [(BOMB, "ASDiv.xml:2: a document type"), ("<x>\n<y></x>", "2: not XML")])
def test_asdiv_refuses_entities_and_broken_xml(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "ASDiv.xml").write_text(text)
    with pytest.raises(DataError, match=message):
        read("asdiv", path=str(tmp_path))
    (tmp_path / "ASDiv.xml").write_text(text, encoding="utf-16")  # hides from a search for bytes
    with pytest.raises(DataError):
        read("asdiv", path=str(tmp_path))


def test_asdiv_names_a_bad_item_by_line(tmp_path: Path) -> None:
    (tmp_path / "ASDiv.xml").write_text('<x>\n\n<Problem ID="1"><Body>b</Body><Answer>4</Answer></Problem></x>')
    with pytest.raises(DataError, match=r"ASDiv.xml:3: Question: no such field"):
        read("asdiv", path=str(tmp_path))


def test_hub_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(*_: object, **__: object) -> str:
        return str(tmp_path)

    monkeypatch.setattr("selfstudy.problems.files.snapshot_download", snapshot)
    monkeypatch.delenv("SELFSTUDY_DATA", raising=False)
    monkeypatch.chdir(tmp_path)

    def put(name: str, **columns: list[object]) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), tmp_path / name)

    put("main/test-00000-of-00001.parquet", question=["q"], answer=["s\n#### 1,200"])
    assert [(p.id, p.answer) for p in read("gsm8k", split="test")] == [("gsm8k/test/00000", "1200")]
    with pytest.raises(DataError, match=r"Hub does not have it.*problems\.dev=700 holds as many out of train"):
        read("gsm8k", split="dev")
    with pytest.raises(DataError, match="Hub does not have it"):
        read("asdiv", fold=0)
    put(
        "asdiv/validation-00000.parquet",
        body=["b.", "b."],
        question=["q?", "r?"],
        answer=["3 (cm)", "1; 2"],
        formula=["f", "g"],
        solution_type=["S", "S"],
    )
    assert [(p.id, p.answer, p.meta["unit"]) for p in read("asdiv")] == [("asdiv/test/00000", "3", "cm")]
    (tmp_path / "main" / "test-00000-of-00001.parquet").unlink()
    put("data/train-0.parquet", question=["q"], final_ans=["5"])
    put("data/test-0.parquet", question=["r"], final_ans=["6"])
    assert [p.id for p in read("multiarith")] == ["multiarith/test/train-00000", "multiarith/test/test-00000"]


def test_a_users_own_source(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from selfstudy.problems.sources import ProblemSource\nfrom selfstudy.types import Problem\n"
        "class Mine(ProblemSource):\n    n: int = 2\n"
        "    def read(self):\n        return (Problem(f'mine/{i}', 'q', '1') for i in range(self.n))\n"
    )
    assert len(read(str(path), n=5, limit=3)) == 3
    path.write_text("class Mine:\n    pass\n")
    with pytest.raises(PluginError):
        read(str(path))


class TestTabular:
    def table(self, tmp_path: Path, text: str) -> str:
        (tmp_path / "t.csv").write_text(text)
        return str(tmp_path / "t.csv")

    def test_columns_and_ids(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, 'frage,lösung,nr\nwas?,"2+2=4\n#### 4",a7\n')
        (problem,) = read(
            "tabular", path=path, question="frage", solution="lösung", answer=None, id="nr", dataset="mine"
        )
        assert (problem.id, problem.question, problem.answer) == ("mine/a7", "was?", "4")

    def test_the_answer_line_is_added(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, "question,answer,solution\nq,4,2+2=4\nr,5,\n")
        first, second = read("tabular", path=path, solution="solution")
        assert first.solution == "2+2=4\n#### 4"
        assert second.solution is None

    def test_answer_and_solution_must_agree(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, 'question,answer,solution\nq,4,"s\n#### 4.0"\nr,5,"s\n#### 6"\ns,(B),"s\n#### B"\n')
        with pytest.raises(DataError, match=r"t\.csv:4: answer: is 5, but the solution ends in #### 6\nmend"):
            read("tabular", path=path, solution="solution")

    def test_a_text_answer_is_taken_from_the_solution(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, 'question,solution\nq,"so it is\n#### Yes"\n')
        assert read("tabular", path=path, solution="solution", answer=None)[0].answer == "Yes"
        with pytest.raises(DataError, match="solution: is no number, received 'Yes'"):
            read("tabular", path=path, solution="solution", answer=None, answers="number")

    def test_default_dataset_is_the_files_name_and_enters_the_settings(self, tmp_path: Path) -> None:
        source = make("tabular", path=self.table(tmp_path, "question,answer\nq,4\n"))
        assert source.identity()["dataset"] == "t"

    @pytest.mark.parametrize(
        ("raw", "answers", "expected"),
        [
            ("1,000", "auto", normalise("1000")),
            ("$5", "auto", "5"),
            ("-3.50", "auto", normalise("-3.50")),
            ("007", "auto", "007"),
            ("(B)", "auto", "(B)"),
            ("Room 3", "auto", "Room 3"),
            ("12", "text", "12"),
            ("1,000", "text", "1,000"),
            ("1,000", "number", "1000"),
        ],
    )
    def test_answers(self, tmp_path: Path, raw: str, answers: str, expected: str) -> None:
        path = self.table(tmp_path, f'question,answer\nq,"{raw}"\n')
        assert read("tabular", path=path, answers=answers)[0].answer == expected

    def test_number_refuses_text(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, "question,answer\nq,yes\n")
        with pytest.raises(DataError, match=r"t.csv:2: answer: is no number, received 'yes'"):
            read("tabular", path=path, answers="number")

    def test_a_wrong_column_in_jsonl_is_suggested(self, tmp_path: Path) -> None:
        path = write_jsonl(tmp_path / "t.jsonl", {"question": "q", "answers": "1"})
        with pytest.raises(DataError, match=r"t.jsonl:1: answer: no such field; did you mean 'answers'"):
            read("tabular", path=str(path))

    def test_settings_and_places(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="needs the solution: column"):
            make("tabular", path="x.csv", answer=None)
        with pytest.raises(DataError, match="no such file"):
            make("tabular", path=str(tmp_path / "none.csv")).files()

    def test_a_million_rows_are_streamed(self, tmp_path: Path) -> None:
        """A limit stops reading: what stands behind it is never parsed."""
        path = write_jsonl(tmp_path / "t.jsonl", *({"question": "q", "answer": 1} for _ in range(50)))
        with path.open("a") as file:
            file.write("{broken\n" * 1000)
        assert len(read("tabular", path=str(path), limit=50)) == 50


class TestRealFiles:
    @pytest.fixture(autouse=True)
    def _data(self, data: Path) -> None:
        pass

    @pytest.mark.parametrize(("split", "count"), [("train", 6705), ("dev", 768)])
    def test_gsm8k(self, split: str, count: int) -> None:
        problems = read("gsm8k", split=split)
        assert len(problems) == count
        assert problems[-1].id == f"gsm8k/{split}/{count - 1:05d}"
        assert all(problem.solution for problem in problems)

    def test_svamp(self) -> None:
        problems = read("svamp")
        assert len(problems) == 1000
        assert not any(re.search(r"  | ,|,,|[a-z] How many", problem.question) for problem in problems)

    def test_asdiv(self) -> None:
        assert len(read("asdiv")) == 2093  # of 2305; see the rule in asdiv.py

    def test_asdiv_folds_partition_the_subset(self) -> None:
        folds = [{p.id for p in read("asdiv", fold=n, part="held_out")} for n in range(5)]
        assert [len(fold) for fold in folds] == [238, 238, 238, 238, 266]
        everything = {p.id for p in read("asdiv", fold=0)}
        assert len(everything) == 1218
        assert set().union(*folds) == everything
        assert {p.id for p in read("asdiv", fold=2, part="rest")} == everything - folds[2]

    def test_asdiv_solutions(self) -> None:
        problems = read("asdiv", fold=0)
        solved = [problem for problem in problems if problem.solution is not None]
        assert len(problems) - len(solved) == 29  # 28 formulas with a remainder, and 10/3=3.333
        for problem in solved:
            assert problem.solution is not None
            assert normalise(find_answer(problem.solution) or "") == problem.answer


def test_bad_row_reads_well() -> None:
    assert str(BadRow("a.csv", 3, "answer", "is empty")) == "a.csv:3: answer: is empty"
