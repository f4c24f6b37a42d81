"""The page: standalone, escaped, the same every time, and honest about runs that did not end well."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic import make_run

from selfstudy.report import page
from selfstudy.report.page import write_report
from selfstudy.types import Problem
from tests.report.conftest import SMALL

PLANT = "</script><script>document.title = 'owned'</script><img src=x onerror=alert(1)> & \u2028 <!--"


class Reader(HTMLParser):
    """Collects elements, and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def html(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(finished, tmp_path_factory.mktemp("page") / "report.html").read_text("utf-8")


def test_it_is_written_beside_the_plan_unless_another_place_is_named(copied: Path, tmp_path: Path) -> None:
    path = write_report(copied)
    assert path == copied / "report.html"
    other = write_report(copied, tmp_path / "other.html")
    assert other.read_bytes() == path.read_bytes()
    assert sorted(file.name for file in copied.iterdir()) == ["config.yaml", "events.jsonl", "plan.json", "report.html"]


def test_it_says_what_there_is_to_say(html: str) -> None:
    read = Reader(html)
    for words in (
        "finished",
        "On 12 test problems",
        "step 20 yields 1.100 distinct right solutions a problem, SFT 1.000",
        "the SFT model is kept",
        "false equation",
        "pair-samples-1[0:2]",
        "selfstudy run quickstart rounds=2",
        "--name made",
        "max_new_tokens: 128",
        "transformers",
        "All 46 problems with samples.",
    ):
        assert words in read.text, words
    titles = {match[1] for match in re.finditer(r"<figcaption>(.*?)</figcaption>", html)}
    assert titles >= {
        "Greedy accuracy on test",
        "Greedy accuracy on dev",
        "pass@2 on test",
        "maj@2 on test",
        "Distinct right solutions a problem, as drawn",
        "dpo-1: log-probabilities of solutions",
        "dpo-2: reward margin",
        "dpo-2: distinct right solutions a problem, as the guard saw it",
        "Likeness of a problem&#39;s samples",
        "Overlap with worked solutions",
        "Samples cut at the length limit",
        "dpo-st-2: loss a token",
    }
    for tag, attributes in read.elements:
        if attributes.get("role") == "img" and tag == "div":
            assert re.search(r"\d", attributes["aria-label"] or "")


def test_it_stands_alone(html: str) -> None:
    read = Reader(html)
    assert {tag for tag, _ in read.elements} & {"link", "img", "iframe", "object", "base", "audio", "video"} == set()
    for _, attributes in read.elements:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in re.sub(r"url\(#[^)]*\)", "", html)
    assert "@import" not in html
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_only_its_own_script_may_run(html: str) -> None:
    data, script = Reader(html).scripts
    json.loads(data)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.replace("&#39;", "'") == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    assert "innerHTML" not in script


def test_equal_folders_give_equal_bytes(copied: Path, html: str) -> None:
    first = write_report(copied).read_bytes()
    assert write_report(copied).read_bytes() == first == html.encode()


def test_text_of_a_run_is_never_markup(tmp_path: Path) -> None:
    def planted(problem: Problem) -> Problem:
        solution = f"{PLANT} {problem.solution}" if problem.solution else None
        return dataclasses.replace(problem, question=f"{problem.question} {PLANT}", solution=solution)

    template = json.dumps(f"{PLANT} {{question}}")
    alike = "max_overlap=1"  # as questions are that all hold so much of the same text
    run = make_run(tmp_path, [*SMALL, alike, f"prompt.template={template}"], edit=planted, said=PLANT)
    events = (run / "events.jsonl").read_text().splitlines()
    stopped = {"time": 1.0, "event": "run_stopped", "error": "Error", "message": PLANT}
    (run / "events.jsonl").write_text("\n".join([*events[:-1], json.dumps(stopped)]) + "\n")
    html = write_report(run).read_text("utf-8")
    read = Reader(html)
    assert [tag for tag, _ in read.elements].count("script") == 2
    assert not any(tag == "img" for tag, _ in read.elements)
    assert (
        PLANT.replace("\u2028", " ").split() == read.text[read.text.index("</script>") :].split()[: len(PLANT.split())]
    )
    problem = json.loads(read.scripts[0])["problems"][0]
    assert problem["q"].endswith(PLANT)
    assert "".join(problem["t"][0][0][1::2]).startswith("</script><script>document.title")


@pytest.mark.parametrize("until", ["problems", "sft", "pair-samples-1[2:3]", "dpo-1", "label-samples-2", "best"])
def test_a_run_that_is_going_on_says_so(until: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, SMALL, until=until)
    read = Reader(write_report(run).read_text("utf-8"))
    assert f"It stood at {until} at its last event" in read.text
    assert "the same command continues it" in read.text
    assert ("No model is scored yet." in read.text) == (until in ("problems", "sft"))


def test_a_run_that_failed_says_where_and_why(tmp_path: Path) -> None:
    run = make_run(tmp_path, SMALL, until="dpo-1")
    stopped = {"time": 1.0, "event": "run_stopped", "error": "TrainingError", "message": "loss is not finite"}
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(stopped) + "\n")
    read = Reader(write_report(run).read_text("utf-8"))
    assert "It failed at dpo-1" in read.text
    assert "What stopped it, at dpo-1 TrainingError: loss is not finite" in read.text
    assert "dpo-1 : has taken 40 steps so far; the guard has looked 3 times" in read.text


def test_a_file_that_cannot_be_finished_leaves_the_old_one(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_report(copied).read_bytes()
    monkeypatch.setattr(page, "render", lambda facts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(copied)
    assert (copied / "report.html").read_bytes() == before


def test_what_is_asked_twice_is_listed(html: str, tmp_path: Path) -> None:
    """Of the run's own questions one of test is put among those of training, and one of dev among those of test."""
    assert "No question that measures is asked in training too" in Reader(html).text
    twice = {"test": "How many of <b>three</b> birds fly?", "dev": "Who counts the five boats?"}
    seen: dict[str, int] = {"train": 0, "dev": 0, "test": 0}

    def edit(problem: Problem) -> Problem:
        split = next(name for name in seen if f"/{name}/" in problem.id)
        seen[split] += 1
        question = {("train", 1): "test", ("test", 1): "test", ("test", 2): "dev", ("dev", 1): "dev"}.get(
            (split, seen[split])
        )
        return dataclasses.replace(problem, question=twice[question]) if question else problem

    run = make_run(tmp_path / "twice", [*SMALL, "max_overlap=0.5"], edit=edit)
    text = Reader(write_report(run).read_text("utf-8")).text
    assert "2 questions that measure are asked in training or in dev too" in text
    assert "test How many of <b>three</b> birds fly? training the same 100" in text
    assert "test Who counts the five boats? dev the same 100" in text
    (path,) = (run.parents[1] / "artifacts").glob("overlap-*/overlap.jsonl")
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert "overlap.jsonl cannot be read" in Reader(write_report(run).read_text("utf-8")).text
