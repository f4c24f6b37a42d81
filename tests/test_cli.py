"""The command line: verbs, errors without traceback, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

import selfstudy
from selfstudy.cli import app, main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    code = stopped.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "quickstrat"], "no config named 'quickstrat'; did you mean 'quickstart'?"),
        (["plan", "quickstart", "preference.bta=1"], "preference.bta is not a setting"),
        (["plan", "quickstart", "rounds"], "override 'rounds' is not of the form setting=value"),
        (["plan", "quickstart", "rounds=0"], "rounds: Input should be greater than or equal to 1"),
        (
            ["plan", "quickstart", "preference.loss.bta=1"],
            "preference.loss: dpo: bta is not a setting; did you mean 'beta'?",
        ),
        (["plan", "quickstart", "verifier=numerc"], "unknown name 'numerc'; did you mean 'numeric'?"),
        (["plan", "quickstart", "model=lama-tiny"], "did you mean 'llama-tiny'"),
        (["plan", "quickstart", "problems.train={name: tabular, path: none.csv}"], "none.csv: no such file (looked in"),
        (["plan", "gsm8k_tiny", "problems.train.path=none"], "none: no such file or folder (path of gsm8k"),
        (["init", "."], "a folder, and a file is needed"),
        (["evaluate", "tiny-llama"], "tiny-llama is a model without a run, so 'test' must be a source of problems"),
        (["sample", "tiny-llama", "svamp", "--out", "."], "--out . is a folder; name a file in it"),
        (["solve", "nothing", "q"], "there are: none; --root names another folder; nor is 'nothing' a model folder"),
    ],
)
def test_errors_say_what_to_do(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    output = capsys.readouterr()
    assert message in " ".join(output.err.split())
    assert "Traceback" not in output.err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"selfstudy {selfstudy.__version__}\n"


def test_the_root_is_an_option_everywhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = ["--root", "some where"]
    settings = ["problems.train.count=40", "problems.labelled=9", "problems.dev.count=2", "problems.test.count=2"]
    assert run("run", "quickstart", *settings, "--until", "problems", "--name", "mine", *place) == 0
    assert (tmp_path / "some where" / "runs" / "mine").is_dir()
    assert "solve mine" not in capsys.readouterr().out
    assert run("plan", "quickstart", *settings, *place) == 0
    assert "exists" in capsys.readouterr().out
    assert run("status", "mine", *place) == 0


def test_a_folder_that_cannot_be_written_is_named_and_no_file_of_ours(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("")
    assert run("plan", "quickstart", "--name", "mine") == 0
    assert capsys.readouterr().out.startswith("mine: ")
    assert run("run", "quickstart", "--root", "a file") == 2
    assert f"{tmp_path / 'a file'}" in " ".join(capsys.readouterr().err.split())
    folder = tmp_path / "mine"

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(folder / ".config.yaml.writing"))

    monkeypatch.setattr("selfstudy.starting.write_config", refuse)
    assert run("init", "mine.csv") == 2
    assert f"error: {folder}: Permission denied; what was" in " ".join(capsys.readouterr().err.split())


def test_what_a_model_that_is_not_here_takes_is_not_made_up(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("plan", "quickstart", "model=google/flan-t5-base") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "not on this machine yet: model google/flan-t5-base, which the run downloads" in shown
    assert "problems: dev 200" in shown
    assert "can be told once these are here" in shown
