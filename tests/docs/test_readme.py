"""The README's blocks and commands work as they are written, with a run made small."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from selfstudy.config import load_tree
from selfstudy.judging.verifiers import FAMILY, load_verifier
from selfstudy.models.load import save_model
from selfstudy.models.tokenizers import train_tokenizer
from selfstudy.plugins import parse_spec
from selfstudy.recipes.config import Config
from selfstudy.recipes.prepare import prepare
from selfstudy.types import Problem
from tests.docs.pages import ROOT, block_of, blocks, commands
from tests.docs.small import run, shortened
from tests.fakes import CORPUS, tiny_llama

README = ROOT / "README.md"


def marked(mark: str) -> str:
    """Return the one command line under ``<!-- mark -->``."""
    (block,) = [block for block in blocks(README, "sh") if block.mark == mark]
    (line,) = block.body.splitlines()
    return line


def test_one_line_sets_up_and_runs_and_one_sets_up_and_tests() -> None:
    environment = "python3 -m venv .venv && .venv/bin/python -m pip install -q "
    run_line, test_line = marked("run command"), marked("test command")
    assert run_line.startswith(f"{environment}. && ")
    assert run_line.endswith(" && .venv/bin/selfstudy run quickstart")
    assert test_line.startswith(f"{environment}-e '.[dev]' && .venv/bin/python -m pytest")


def test_ci_runs_the_test_command_under_coverage() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    (reading,) = re.findall(r"^test_command=\$\(.*\)$", script, re.MULTILINE)
    (running,) = re.findall(r"^eval (\".*-m pytest.*\")$", script, re.MULTILINE)
    printed = subprocess.run(
        ["bash", "-c", f'{reading}\necho "$test_command"\necho {running}'], cwd=ROOT, capture_output=True, check=True
    )
    plain, covered = printed.stdout.decode().splitlines()
    assert plain == marked("test command")
    assert covered == plain.replace("-m pytest", "-m slipcover --json --out coverage.json -m pytest")
    assert "-m slipcover --merge coverage.json --out coverage.json --fail-under 85\n" in script


def test_the_config_of_ones_own_is_read_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = block_of(README, "mine.yaml")
    assert block.language == "yaml"
    Path("mine.yaml").write_text(block.body, "utf-8")
    for name in ("train.csv", "test.csv"):
        shutil.copy(ROOT / "examples" / "own_problems" / name, name)
    tokenizer = train_tokenizer(CORPUS, "causal", 320)
    save_model(tiny_llama(len(tokenizer)), tokenizer, Path("my-model"), {})

    config = Config.parse(load_tree("mine.yaml"), "mine.yaml")
    assert config.problems.train.name == "tabular"
    assert config.sft.max_steps is None
    assert len([line for line in block.body.splitlines() if not line.startswith("#")]) <= 10
    sizes = prepare("mine.yaml").sizes()
    assert sizes.problems == {"dev": 3, "labelled": sizes.problems["labelled"], "test": 10, "unlabelled": 27}
    assert 0 < sizes.problems["labelled"] < 27

    # The overrides that stand below it, and those of any other command on the page.
    for arguments in commands(README):
        if arguments[0] in ("run", "plan") and arguments[1:]:
            Config.parse(load_tree(arguments[1], [a for a in arguments[2:] if "=" in a]), arguments[1])


def test_the_verifier_is_a_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = block_of(README, "even.py")
    assert block.language == "python"
    Path("even.py").write_text(block.body, "utf-8")
    verifier = load_verifier(parse_spec(FAMILY, "./even.py"))
    problem = Problem("mine/00000", "Name an even number.", "2")
    outcomes = {text: verifier.verify(problem, text).outcome for text in ("so it is 4", "7", "", "none")}
    assert outcomes == {"so it is 4": "right", "7": "wrong", "": "unparsed", "none": "unparsed"}
    assert Config.parse(load_tree("quickstart", ["verifier=./even.py"]), "quickstart").verifier.sha256


def test_the_other_commands_work_on_the_finished_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [arguments for arguments in commands(README) if arguments[0] != "run" and arguments[1:]]
    assert {arguments[0] for arguments in asked} >= {"plan", "status", "evaluate", "export"}
    for arguments in asked:
        smaller = shortened(arguments[1]) if arguments[0] == "pretrain" else []
        assert run([*arguments, *smaller]) == 0, (arguments, capsys.readouterr().err)
    assert Path("pairs.jsonl").is_file()
