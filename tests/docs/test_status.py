"""The page of requirements names what exists, and the check of it finds what does not."""

from __future__ import annotations

import pytest

from tests.docs.status import PAGE, Row, failures, faults, rows

HEAD = "| requirement | | shown by, or why not |\n|---|---|---|\n"


def test_whatever_the_page_names_exists() -> None:
    text = PAGE.read_text("utf-8")
    assert faults(text) == []
    assert len(rows(text)) > 100


def test_quick_commands_pass() -> None:
    text = PAGE.read_text("utf-8")
    assert any(quick for row in rows(text) for _, quick in row.commands)
    assert failures(text) == []


def test_rows_are_read_as_they_stand() -> None:
    text = f"# Page\n\n{HEAD}| a, with `x` | met | `tests/docs` · `selfstudy gc` (quick) |\n"
    (row,) = rows(text)
    assert row == Row("a, with `x`", "met", "`tests/docs` · `selfstudy gc` (quick)")
    assert row.commands == [("tests/docs", False), ("selfstudy gc", True)]
    assert faults(text) == []


@pytest.mark.parametrize(
    ("state", "shown", "fault"),
    [
        ("met", "`tests/docs/test_nowhere.py`", "there is no tests/docs/test_nowhere.py"),
        ("met", "`tests/docs/test_status.py::test_gone`", "there is no test tests/docs/test_status.py::test_gone"),
        ("met", "`tests/docs/status.py::faults`", "there is no test tests/docs/status.py::faults"),
        ("met", "`docs/nowhere.md`", "there is no docs/nowhere.md"),
        ("met", "`tests/docs -k some`", "there is no tests/docs -k some"),
        ("met", "`python benchmarks/nothing.py`", "there is no benchmarks/nothing.py"),
        ("met", "`python benchmarks/report.py --problem 5`", "benchmarks/report.py has no --problem"),
        ("met", "`selfstudy trian quickstart`", "selfstudy trian quickstart: ['trian', 'quickstart']"),
        ("met", "`selfstudy report RUN --ouput x`", "No such option"),
        ("met", "it is so", "nothing shows that it is met"),
        ("not", "`tests/docs`", "no reason why it is not met"),
        ("done", "`tests/docs` lies there", "'done' is none of met, partly, not"),
    ],
)
def test_a_wrong_row_is_found(state: str, shown: str, fault: str) -> None:
    (found,) = faults(f"{HEAD}| something | {state} | {shown} |\n")
    assert found.startswith("something: ")
    assert fault in found


def test_a_right_row_is_not_found() -> None:
    for shown in (
        "`tests/docs/test_status.py::test_a_wrong_row_is_found`",
        "`tests/judging/verifiers/test_contract.py::TestContract::test_each_outcome`",
        "`python benchmarks/report.py --problems 5 --keep x`",
        "`selfstudy run quickstart rounds=1 --until sft`",
        "`docs/status.md`",
    ):
        assert faults(f"{HEAD}| something | met | {shown} |\n") == []


def test_a_quick_command_that_fails_is_found() -> None:
    (found,) = failures(f"{HEAD}| something | met | `selfstudy trian` (quick) · `selfstudy train` |\n")
    assert found.startswith("selfstudy trian: exit code 2: ")
