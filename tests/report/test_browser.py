"""The page in a real browser: no errors, no overflow, filters, links and keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic import make_run

from selfstudy.report.page import write_report
from tests.report.chromium import PROGRAM, Page
from tests.report.conftest import SMALL

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no chromium on this machine")

WIDTHS = (360, 768, 1280)
BRACKETS = ["prompt.notation=bracket"]  # as a T5's own vocabulary needs it; one that is trained on the problems has a <
# Whatever sticks out of the page to the right, but for what scrolls in a box of its own.
OVERFLOW = """
document.documentElement.scrollWidth > document.documentElement.clientWidth
  ? [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
      .map((e) => `${e.tagName}.${e.className} ${e.textContent.slice(0, 40)}`).slice(0, 5)
  : []
"""
COUNT = "document.getElementById('count').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def file(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(finished, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def of_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_run(tmp_path_factory.mktemp("t5"), [*SMALL, "rounds=1", "model=t5-tiny", *BRACKETS]))


@pytest.fixture(scope="module")
def data(browser: Page, file: Path) -> dict[str, Any]:
    return embedded(browser, file)


def embedded(browser: Page, file: Path) -> dict[str, Any]:
    browser.open(file)
    found: dict[str, Any] = json.loads(browser.run("document.getElementById('data').textContent"))
    return found


def outcome(samples: list[list[Any]]) -> int:
    """Say it again, in another language: the greedy try decides, else any right one, else any wrong one."""
    greedy = [sample[1] for sample in samples if sample[2] & 1]
    return min(greedy or [sample[1] for sample in samples])


def expected(data: dict[str, Any], **asked: str) -> list[str]:
    """Return the ids that filters should leave."""
    left = []
    for problem in data["problems"]:
        draws = [(data["columns"][column], outcome(samples)) for column, samples in problem["d"]]
        before = draws[0][1]
        if "round" in asked:
            draws = [draw for draw in draws if str(draw[0]["round"]) == asked["round"]]
        if not draws:
            continue
        returned = [now for column, now in draws if column["name"] == data["returned"] and "round" not in asked]
        now = returned[0] if returned else draws[-1][1]
        change = "right" if before and not now else "wrong" if now and not before else ""
        fits = (
            asked.get("set") in (None, data["splits"][problem["s"]]["name"])
            and asked.get("outcome") in (None, ["right", "wrong", "unparsed"][now])
            and asked.get("change") in (None, change)
            and all(
                w in f"{problem['id']} {problem['q']} {problem['a']}".lower() for w in asked.get("q", "").split("+")
            )
        )
        left += [problem["id"]] * fits
    return left


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_errors_no_requests_and_nothing_sticks_out(browser: Page, file: Path, width: int, dark: bool) -> None:
    browser.open(file, width=width, dark=dark)
    assert browser.run("innerWidth") == width
    assert browser.run(OVERFLOW) == []
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    browser.run("new Promise((done) => setTimeout(done, 100))")  # problems are filled when they are opened
    browser.run("for (const details of document.querySelectorAll('details details')) details.open = true")
    assert browser.run("document.querySelectorAll('.solution').length") > 100
    assert browser.run(OVERFLOW) == []
    assert browser.complaints() == []
    shade = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (shade == "rgb(20, 23, 26)") == dark


@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_of_an_encoder_decoder_model(browser: Page, of_t5: Path, width: int) -> None:
    """Its notation is another, on one line."""
    browser.open(of_t5, "#open=1", width=width, dark=width == WIDTHS[0])
    browser.run("new Promise((done) => setTimeout(done, 100))")
    assert browser.run(OVERFLOW) == []
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    browser.run("new Promise((done) => setTimeout(done, 100))")
    assert browser.run(OVERFLOW) == []
    assert browser.complaints() == []
    assert "t5-tiny" in browser.run("document.querySelector('header').innerText")
    assert browser.run("document.querySelectorAll('#scores svg').length") > 0
    solutions = browser.run("[...document.querySelectorAll('.solution .text')].map((e) => e.textContent)")
    assert any("[ " in text for text in solutions)
    assert not any("<<" in text for text in solutions)


def test_marks_in_the_report_of_an_encoder_decoder_model(browser: Page, of_t5: Path) -> None:
    problems = embedded(browser, of_t5)["problems"]
    calculated = next(problem["id"] for problem in problems if any(1 in parts[::2] for parts, _ in problem["t"]))
    browser.open(of_t5, f"#q={calculated}&open=1")
    browser.run("new Promise((done) => setTimeout(done, 100))")
    written = browser.run("[...document.querySelectorAll('.inside .calc')].map((e) => e.textContent)")
    assert written
    assert all(text.endswith("]") for text in written)


@pytest.mark.parametrize("state", ["running", "failed", "planned"])
def test_runs_that_did_not_end_well(browser: Page, state: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, SMALL, until="problems" if state == "planned" else "dpo-1")
    if state == "failed":
        stopped = {"time": 1.0, "event": "run_stopped", "error": "Error", "message": "no end " + "x" * 500}
        with (run / "events.jsonl").open("a") as events:
            events.write(json.dumps(stopped) + "\n")
    path = write_report(run)
    for width in WIDTHS:
        browser.open(path, width=width)
        assert browser.run(OVERFLOW) == []
        assert browser.complaints() == []


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"set": "test"},
        {"outcome": "wrong"},
        {"outcome": "unparsed", "set": "unlabelled"},
        {"round": "1"},
        {"round": "1", "outcome": "right", "set": "dev"},
        {"change": "right"},
        {"change": "wrong"},
        {"change": "right", "round": "2"},
        {"q": "how+many"},
        {"q": "00003", "set": "test"},
        {"q": "nothing+of+the+kind"},
    ],
)
def test_a_view_is_a_link(browser: Page, file: Path, data: dict[str, Any], asked: dict[str, str]) -> None:
    wanted = expected(data, **asked)
    fragment = "#" + "&".join(f"{name}={value}" for name, value in asked.items()) if asked else ""
    browser.open(file, fragment)
    assert browser.run(COUNT) == f"{len(wanted)} of 46 problems"
    browser.run("while (!document.getElementById('more').hidden) document.getElementById('more').click()")
    assert browser.run("[...document.querySelectorAll('.problem .id')].map((e) => e.textContent)") == wanted
    for name, value in asked.items():
        assert browser.run(f"document.querySelector('[name={name}]').value") == value.replace("+", " ")


def test_some_problems_did_flip(data: dict[str, Any]) -> None:
    for change in ("right", "wrong"):
        assert 0 < len(expected(data, change=change)) < 46


def focused(browser: Page) -> str:
    found: str = browser.run(
        "document.activeElement.name || document.activeElement.id || document.activeElement.tagName"
    )
    return found


def test_keys_are_enough(browser: Page, file: Path, data: dict[str, Any]) -> None:
    browser.open(file)
    for _ in range(60):
        browser.press("Tab")
        if focused(browser) == "q":
            break
    assert focused(browser) == "q"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.write("how many")
    assert browser.run(COUNT) == f"{len(expected(data, q='how+many'))} of 46 problems"
    assert "q=how+many" in browser.run("location.hash")
    browser.press("Tab")
    assert focused(browser) == "set"
    browser.press("ArrowDown", 2)  # all, training, test
    assert browser.run(COUNT) == f"{len(expected(data, q='how+many', set='test'))} of 46 problems"
    browser.press("Tab", 4)
    assert browser.run("document.activeElement.type") == "reset"
    browser.press("Enter")
    browser.run("new Promise((done) => setTimeout(done, 50))")
    assert browser.run(COUNT) == "46 of 46 problems"
    browser.press("Tab")
    assert focused(browser) == "SUMMARY"
    browser.press("Enter")
    browser.run("new Promise((done) => setTimeout(done, 50))")
    assert browser.run("document.querySelector('.problem').open && document.querySelectorAll('.inside').length") == 1
    assert browser.complaints() == []


def test_what_a_problem_shows(browser: Page, file: Path, data: dict[str, Any]) -> None:
    training = [problem for problem in data["problems"] if problem["s"] == 0]
    paired = next(problem for problem in training if problem["p"] and any(fault for _, fault in problem["t"]))
    labelled = next(problem for problem in training if problem["l"])
    for problem, words in (
        (paired, ("Samples", "Pairs", "pair-samples-1", "drawn by sft", "chosen: ", "rejected", "faulty step: ")),
        (labelled, ("Kept as pseudo-labels", "kept as a pseudo-label", "labels-2")),
    ):
        browser.open(file, f"#q={problem['id']}&set=unlabelled&open=1")
        browser.run("new Promise((done) => setTimeout(done, 50))")
        shown = browser.run("document.querySelector('.inside').innerText")
        assert [word for word in words if word not in shown] == []
        assert browser.run("document.querySelector('.calc').textContent").endswith(">>")
    browser.open(file, f"#q={paired['id']}&set=unlabelled&open=1")
    browser.run("new Promise((done) => setTimeout(done, 50))")
    assert browser.run("document.querySelectorAll('.inside .fault').length") > 0


def test_markup_in_texts_is_shown_as_text(browser: Page, tmp_path: Path) -> None:
    plant = "</script><script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
    path = write_report(make_run(tmp_path, [*SMALL, "rounds=1"], said=plant))
    browser.open(path, "#open=1")
    browser.run("new Promise((done) => setTimeout(done, 100))")
    assert browser.run("document.title") == "made · Selfstudy"
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert plant in browser.run("document.querySelector('.solution .text').textContent")
    assert browser.complaints() == []
