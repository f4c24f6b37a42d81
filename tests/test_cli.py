"""The command line: verbs, errors without traceback, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

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
