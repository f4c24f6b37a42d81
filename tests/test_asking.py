"""Using what a run made: one small finished run, asked in every way, by function and by command line."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from rich.text import Text

import selfstudy
from selfstudy import asking
from selfstudy.asking import coloured, find_model, sample_to_file, show_scores, show_solutions
from selfstudy.cli import main
from selfstudy.errors import ConfigError, DataError
from selfstudy.exporting import export_step
from selfstudy.models.format import read_format
from selfstudy.models.load import load_model, load_tokenizer, save_model
from selfstudy.models.tokenizers import train_tokenizer
from selfstudy.report.results import Results, read_results
from selfstudy.storage.records import read_records
from selfstudy.types import Completion, Example, Pair, Problem, Sample
from tests.fakes import CORPUS, tiny_llama
from tests.system.conftest import PARITY, SMALL

ROOT = Path("selfstudy-runs")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Carry out one small run, in a folder of its own."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("parity.py").write_text(PARITY)
        tokenizer = train_tokenizer(CORPUS, "causal", 320)
        save_model(tiny_llama(len(tokenizer)), tokenizer, Path("base"), {})
        Path("mine.yaml").write_text(yaml.safe_dump({**SMALL, "model": "./base", "evaluation": {"samples": 0}}))
        selfstudy.run("mine.yaml", quiet=True)
    return folder


@pytest.fixture(autouse=True)
def _there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    # One thread for a bare folder: see conftest.py.
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0}, raising=False)


def results() -> Results:
    return read_results(ROOT / "runs" / "mine")


def path_of(step: str) -> Path:
    found = results().step(step)
    assert found is not None
    assert found.artifact is not None
    return found.artifact.path


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_models_are_found_by_run_step_and_folder() -> None:
    assert find_model("mine", ROOT).folder == path_of("best")
    assert find_model("mine:dpo-1", ROOT).folder == path_of("dpo-1")
    assert Path(find_model("mine:sft", ROOT).verifier.name).name == "parity.py"
    assert find_model("mine:sft", ROOT).sampling.max_new_tokens == SMALL["sampling"]["max_new_tokens"]
    assert find_model("mine:dpo-1", str(ROOT)) == find_model("mine:dpo-1", ROOT)
    bare = find_model("base", ROOT)
    assert (bare.folder, bare.data, bare.verifier.name) == (Path("base"), None, "numeric")
    assert bare.with_verifier({"name": "numeric", "tolerance": 0.5}).verifier.settings["tolerance"] == 0.5
    with pytest.raises(ConfigError, match="did you mean 'exact'"):
        bare.with_verifier("exakt")
    with pytest.raises(ConfigError, match="run mine has no model 'dpo1'; did you mean 'dpo-1'"):
        find_model("mine:dpo1", ROOT)
    with pytest.raises(ConfigError, match="no run 'mein' below .*; there are: mine"):  # noqa: RUF043
        find_model("mein", ROOT)
    for step in ("problems", "pairs-1"):
        with pytest.raises(ConfigError, match=f"run mine has no model '{step}'; known: dpo-1, dpo-st-1, sft"):
            find_model(f"mine:{step}", ROOT)


def test_a_run_goes_before_a_folder_of_the_same_name() -> None:
    """A base model in ./mine and a run called mine: to ask "mine" must not ask the untrained one."""
    save_model(load_model(Path("base")), load_tokenizer(Path("base")), Path("mine"), {})
    assert find_model("mine", ROOT).folder == path_of("best")
    assert find_model("./mine", ROOT).folder == Path("mine")
    assert find_model("mine", Path("elsewhere")).folder == Path("mine")


def test_a_model_that_is_not_made_yet(tmp_path: Path) -> None:
    selfstudy.run("mine.yaml", ["seed=5", f"root={tmp_path}"], name="half", until="problems", quiet=True)
    with pytest.raises(ConfigError, match="run half has not made 'best' yet; carry it out, or name another: RUN:STEP"):
        find_model("half", tmp_path)
    selfstudy.run("mine.yaml", ["seed=5", f"root={tmp_path}"], name="half", until="sft", quiet=True)
    with pytest.raises(ConfigError, match=r"or name another: RUN:STEP \(half:sft\)"):
        find_model("half", tmp_path)
    with pytest.raises(ConfigError, match="step 'pairs-1' of run half has not been carried out yet; carry it out"):
        export_step("half", "pairs-1", tmp_path / "out.jsonl", tmp_path)


def test_answers_that_the_verifier_cannot_read_are_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "capitals.jsonl"
    table.write_text('{"question": "What is the capital of France?", "answer": "Paris"}\n')
    source = f"{{name: tabular, path: {table}}}"
    options = {"temperature": 1.0, "calculator": True, "seed": 0, "root": ROOT}
    show_scores("base", source, samples=1, as_json=True, verifier="exact", **options)
    monkeypatch.setattr(asking, "_draw", lambda *_: pytest.fail("nothing is to be drawn"))
    with pytest.raises(DataError, match="its answer 'Paris' is not a number"):
        show_scores("base", source, samples=1, as_json=True, **options)
    with pytest.raises(DataError, match="its answer 'Paris' is not a number"):
        sample_to_file("base", source, tmp_path / "out.jsonl", n=1, **options)
    with pytest.raises(ConfigError, match=r"--verifier exakt: .*did you mean"):
        show_scores("base", source, samples=1, as_json=True, verifier="exakt", **options)


def test_pairs_are_not_written_over_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--out {tmp_path} is a folder; name a file in it"):
        export_step("mine", "pairs-1", tmp_path, ROOT)


def test_samples_are_not_drawn_for_a_place_that_cannot_hold_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; name a file in it"):
        sample_to_file("mine", "svamp", tmp_path, n=1, temperature=1, calculator=True, seed=0, root=ROOT)
    with pytest.raises(ConfigError, match="is a model without a run, so 'test' must be a source"):
        find_model("tiny-llama", tmp_path).problems("test")


def test_problems_are_splits_or_sources() -> None:
    asked = find_model("mine", ROOT)
    assert [p.id for p in asked.problems("dev")] == [f"word_problems/dev/{n:05d}" for n in range(6)]
    assert len(asked.problems("labelled")) == 30
    assert len(asked.problems("{name: word_problems, count: 4}")) == 4
    assert len(find_model("base", ROOT).problems("{name: word_problems, count: 4}")) == 4
    with pytest.raises(
        ConfigError, match=r"neither a split of the run \(dev, labelled, test, unlabelled\) nor a source"
    ):
        asked.problems("tset")
    with pytest.raises(ConfigError, match="not valid YAML"):
        asked.problems("{name: ")
    with pytest.raises(DataError, match="no such file"):
        asked.problems("{name: tabular, path: none.csv}")


def test_samples_with_their_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "samples.jsonl"  # its folder is made, and before the work
    options = {"n": 3, "temperature": 20.0, "calculator": True, "root": ROOT}
    sample_to_file("mine:sft", "dev", out, seed=0, **options)
    found = lines(str(out))
    assert [(line["problem_id"], line["index"]) for line in found] == [
        (f"word_problems/dev/{n:05d}", k) for n in range(6) for k in range(3)
    ]
    problems = {p.id: p for p in find_model("mine", ROOT).problems("dev")}
    for line in found:
        assert line["question"] == problems[line["problem_id"]].question
        assert line["answer"] == problems[line["problem_id"]].answer
        even = len(line["completion"]) % 2 == 0  # by the run's own verifier; what was cut is never right
        assert line["outcome"] == ("right" if even and line["finish"] == "stop" else "wrong")
        assert line["logprob"] < 0
    assert {line["outcome"] for line in found} == {"right", "wrong"}
    right = sum(line["outcome"] == "right" for line in found)
    assert f"18 samples of 6 problems, {right} right" in capsys.readouterr().out
    again, other = tmp_path / "again.jsonl", tmp_path / "other.jsonl"
    sample_to_file("mine:sft", "dev", again, seed=0, **options)
    sample_to_file("mine:sft", "dev", other, seed=1, **options)
    assert again.read_bytes() == out.read_bytes() != other.read_bytes()


def test_evaluation_counts_what_was_drawn() -> None:
    asked = find_model("mine:sft", ROOT)
    problems = asked.problems("test")
    metrics = asked.evaluate(problems, samples=5, temperature=20.0, seed=3)
    solver = asked.solver("evaluate", temperature=20.0, calculator=True, seed=3)
    right = Counter(
        sample.problem_id
        for sample in solver.draw(solver.requests(problems, range(5)))
        if len(sample.completion.text) % 2 == 0 and sample.completion.finish == "stop"
    )
    assert right.total()
    assert metrics["pass_at"]["1"]["value"] == pytest.approx(right.total() / 30)
    assert metrics["pass_at"]["5"]["value"] == pytest.approx(len(right) / 6)
    # Greedy accuracy is what the run itself measured, whatever the seed.
    assert metrics["accuracy"] == results().scores["sft", "test"]["accuracy"]


def test_scores_are_shown_as_lines_or_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"temperature": 20.0, "calculator": False, "seed": 0, "root": ROOT}
    show_scores("mine:sft", "test", samples=5, as_json=False, **options)
    shown = capsys.readouterr().out
    assert "6 problems: accuracy" in shown
    assert "pass@5" in shown
    assert "maj@1" in shown
    show_scores("mine:sft", "test", samples=3, as_json=False, **options)
    assert "pass@3" in capsys.readouterr().out  # all that were drawn count
    source = "{name: word_problems, count: 3}"
    show_scores("base", source, samples=0, as_json=True, **options)
    metrics = json.loads(capsys.readouterr().out)
    base = find_model("base", ROOT)
    assert metrics == base.evaluate(base.problems(source), calculator=False)
    assert "pass_at" not in metrics
    assert metrics["accuracy"]["n"] == 3


def test_questions_are_solved_together_as_they_are_one_by_one() -> None:
    asked = find_model("mine:sft", ROOT)
    questions = ["Tom has 3 apples. How many?", "Ann buys 4 pens and 2 cups. How many things does she buy?"]
    together = asked.solve(questions)
    assert [sample.problem_id for sample in together] == ["asked/0", "asked/1"]
    assert [s.completion.text for s in together] == [asked.solve([q])[0].completion.text for q in questions]
    hot = [asked.solve(questions, temperature=20.0, seed=seed) for seed in (0, 0, 1)]
    assert hot[0] == hot[1] != hot[2]


def test_the_calculator_can_be_left_out() -> None:
    asked = find_model("mine:sft", ROOT)
    hooks = [
        asked.solver("x", seed=0, temperature=1.0, calculator=on).engine.settings.hook.name for on in (True, False)
    ]
    assert hooks == ["calculator", "off"]


def test_what_the_calculator_wrote_is_coloured_and_nothing_is_lost() -> None:
    """The markup, taken away again, is the text; the coloured spans are the forced tokens' text."""
    solver = find_model("mine:sft", ROOT).solver("x", seed=0, temperature=0, calculator=True)
    text = "He has [b] 12 + 3 = <<12+3=15>>15, then <<15*2=30>>30."
    encoding = solver.format.tokenizer(text, add_special_tokens=False)
    ids, spots = encoding["input_ids"], []
    for written in ("15>>", "30>>"):
        at = text.index("=" + written) + 1
        first = encoding.char_to_token(at)
        spots.append((first, encoding.char_to_token(at + len(written) - 1) + 1))
    shown = Text.from_markup(coloured(Completion(text, tuple(ids), tuple(spots)), solver))
    assert shown.plain == text
    assert ["15>>" in shown.plain[s.start : s.end] or "30>>" in shown.plain[s.start : s.end] for s in shown.spans] == [
        True,
        True,
    ]
    plain = Text.from_markup(coloured(Completion(text, tuple(ids)), solver))
    assert (plain.plain, plain.spans) == (text, [])


@pytest.mark.parametrize("ends", ["", EOFError()])
def test_questions_are_asked_until_an_empty_line_or_the_end(
    ends: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["Tom has 3 apples.", "  How many? ", ends])

    def read(*_: object, **__: object) -> str:
        line = next(typed)
        if isinstance(line, EOFError):
            raise line
        assert isinstance(line, str)
        return line

    monkeypatch.setattr("selfstudy.asking.console.input", read)
    show_solutions("mine", None, calculator=True, temperature=0.0, root=ROOT)
    assert capsys.readouterr().out.count("log-probability") == 2
    assert next(typed, "all read") == "all read"


def drawn_by_hand(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let every question be answered by the same text, parts of which the calculator wrote; return it."""
    text = "He has 12 + 3 = <<12+3=15>>15 [apples].\n#### 15"
    tokenizer = load_tokenizer(path_of("sft"))
    encoding = tokenizer(text, add_special_tokens=False)
    at = text.index("=15>>") + 1
    span = (encoding.char_to_token(at), encoding.char_to_token(at + 3) + 1)
    sample = Sample("asked/0", 0, Completion(text, tuple(encoding["input_ids"]), (span,)), -1.5)
    monkeypatch.setattr("selfstudy.generation.solver.Solver.draw", lambda *_: [sample])
    return text


def test_what_the_calculator_wrote_is_green_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn_by_hand(monkeypatch)
    for terminal, shown in ((True, "12+3=\x1b[1;32m15>>\x1b[0m15 [apples]"), (False, text)):
        out = io.StringIO()
        colours = "standard" if terminal else None
        there = Console(file=out, force_terminal=terminal, color_system=colours, highlight=False)
        monkeypatch.setattr("selfstudy.asking.console", there)
        show_solutions("mine", "How many?", calculator=True, temperature=0.0, root=ROOT)
        assert shown in out.getvalue()
        assert ("\x1b" in out.getvalue()) == terminal


def test_a_solution_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = drawn_by_hand(monkeypatch)
    assert command("solve", "mine", "How many?", "--json") == 0
    at = text.index("15>>")
    forced = [{"start": at, "stop": at + 4, "text": "15>>"}]
    expected = {"question": "How many?", "text": text, "answer": "15", "forced": forced}
    assert json.loads(capsys.readouterr().out) == expected
    # Of questions that are piped in, nothing but their solutions is printed.
    monkeypatch.setattr("sys.stdin", io.StringIO("One?\nTwo?\n\nThree?\n"))
    assert command("solve", "mine", "--json") == 0
    assert [json.loads(line)["question"] for line in capsys.readouterr().out.splitlines()] == ["One?", "Two?"]


@pytest.mark.parametrize("step", ["pairs-1", "labels-1"])
def test_exports_are_the_records_as_the_model_saw_them(step: str, tmp_path: Path) -> None:
    out = tmp_path / "export.jsonl"
    export_step("mine", step, out, ROOT)
    exported = lines(str(out))
    problems = {p.id: p for p in read_records(path_of("problems") / "unlabelled.jsonl", Problem)}
    if step == "pairs-1":
        pairs = list(read_records(path_of(step) / "pairs.jsonl", Pair))
        assert exported == [
            {
                "prompt": f"Question: {problems[p.problem_id].question}\nAnswer:",
                "chosen": f" {p.chosen.text}",
                "rejected": f" {p.rejected.text}",
            }
            for p in pairs
        ]
    else:
        labels = list(read_records(path_of(step) / "labels.jsonl", Example))
        assert exported == [
            {"prompt": f"Question: {problems[x.problem_id].question}\nAnswer:", "completion": f" {x.completion.text}"}
            for x in labels
        ]
    assert exported


def test_an_exported_model_is_the_same_model_with_its_scores_on_the_card(tmp_path: Path) -> None:
    out = tmp_path / "model"
    export_step("mine", "best", out, ROOT, dtype="bfloat16")
    chosen = json.loads((path_of("best") / "choice.json").read_text(encoding="utf-8"))["chosen"]
    before, after = load_model(path_of(chosen), dtype="bfloat16"), load_model(out, dtype="bfloat16")
    for name, weight in before.state_dict().items():
        assert torch.equal(weight, after.state_dict()[name]), name
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"
    assert read_format(out) == read_format(path_of(chosen))
    card = (out / "README.md").read_text(encoding="utf-8")
    scores = read_results(ROOT / "runs" / "mine").scores[chosen, "test"]["accuracy"]
    assert f"| test | {scores['n']} | {100 * scores['value']:.1f} [" in card
    assert "recipe: dpo_st" in card
    assert str(ROOT) not in card
    assert find_model(str(out), ROOT).folder == out
    with pytest.raises(ConfigError, match="is there already"):
        export_step("mine", "best", out, ROOT)


def test_only_models_pairs_and_labels_are_exported(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="'gold' is not a step that made a model, pairs or pseudo-labels; known: best"
    ):
        export_step("mine", "gold", tmp_path / "out", ROOT)
    with pytest.raises(ConfigError, match="did you mean 'pairs-1'"):
        export_step("mine", "pairs1", tmp_path / "out", ROOT)


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return stopped.value.code if isinstance(stopped.value.code, int) else 0


def test_every_verb_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*arguments: str) -> str:
        assert command(*arguments) == 0
        return " ".join(capsys.readouterr().out.split())

    assert "done before" in shown("run", "mine.yaml")
    assert "exists" in shown("plan", "mine.yaml")
    assert "✓ sft" in shown("status", "mine")
    assert "mine: " in shown("status")
    assert "no runs below" in shown("status", "--root", str(tmp_path))
    assert "finished by" in shown("solve", "mine", "Tom has 3 apples.")
    assert "problems: accuracy" in shown("evaluate", "mine:sft", "dev")
    scores = json.loads(shown("evaluate", "mine:sft", "--json", "--samples", "1", "--no-calculator", "--seed", "2"))
    assert scores["pass_at"].keys() == {"1"}
    out = str(tmp_path / "s.jsonl")
    assert "12 samples of 6 problems" in shown("sample", "mine:sft", "test", "--out", out, "--n", "2")
    assert len(lines(out)) == 12
    assert re.search(r"\d+ records", shown("export", "mine", "labels-1", "--out", out))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "mine", "dev", "--out", "x", "--temperature", "-1"], "Invalid value for '--temperature'"),
        (["sample", "mine", "dev", "--out", "x", "--n", "0"], "Invalid value for '--n'"),
        (["evaluate", "mine", "--samples", "-1"], "Invalid value for '--samples'"),
        (["solve", "mine", "q", "--temperature", "-0.5"], "Invalid value for '--temperature'"),
        (["sample", "mine", "dev"], "Missing option '--out'"),
        (["run", "mine.yaml", "--until", "stf"], "no step named 'stf'; did you mean 'sft'?"),
        (["run", "nowhere.yaml"], "no such config file"),
        (["evaluate", "mine", "tset"], "neither a split of the run"),
        (["status", "mein"], "no run 'mein'"),
        (["export", "mine", "gold", "--out", "x"], "is not a step that made a model"),
    ],
)
def test_mistakes_exit_with_2_and_say_what_to_do(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert command(*arguments) == 2
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.split())
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not Path("x").exists()


def test_a_disk_that_cannot_be_written_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("selfstudy.running.run", full)
    assert command("run", "mine.yaml") == 2
    assert "No space left on device; what was finished is kept" in " ".join(capsys.readouterr().err.split())
