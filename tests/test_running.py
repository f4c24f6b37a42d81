"""Running, planning, looking: what is printed of runs that are new, half done, damaged and done."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import selfstudy
from selfstudy import running
from selfstudy.errors import ConfigError, PluginError, StorageError
from selfstudy.looking import show_report, show_status
from selfstudy.recipes.prepare import prepare
from selfstudy.report.results import find_results, find_run, read_results
from selfstudy.running import show_plan
from tests.system.conftest import small  # noqa: F401  (a fixture)

ROOT = Path("selfstudy-runs")
MINE = ROOT / "runs" / "causal"


@pytest.fixture
def config(small: Callable[..., str]) -> str:  # noqa: F811
    return small("causal")


def flat(text: str) -> str:
    return " ".join(text.split())


def events() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (MINE / "events.jsonl").read_text().splitlines()]


def test_a_whole_run_as_it_is_seen(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    selfstudy.run(config, ["evaluation.samples=0"], name="causal")
    shown = capsys.readouterr().out
    steps = sum("part_of" not in step.about for step in read_results(MINE).steps)
    assert f"1/{steps} problems" in flat(shown)
    assert f"{steps}/{steps} evaluate/" in flat(shown)
    assert f"causal: {steps} steps, in {MINE}" in flat(shown)
    assert "\x1b" not in shown  # plain text where there is no terminal
    assert "guard:" in shown
    assert "/verdicts" not in shown  # parts of a step are not shown
    assert "Greedy accuracy in %" in shown
    assert shown.count("before the first round: sft") == shown.count("round 1: dpo-st-1") == 1
    assert shown.index("round 1: dpo-st-1") < shown.index("evaluate/sft/test")
    assert f"best model ({read_results(MINE).chosen}):" in flat(shown)
    assert "ask it: selfstudy solve causal" in shown
    assert f"report: {MINE / 'report.html'}" in flat(shown)
    assert "All " in (MINE / "report.html").read_text("utf-8")
    assert shown.count("done before") == 0
    selfstudy.run(config, ["evaluation.samples=0"], name="causal")
    assert capsys.readouterr().out.count("done before") == sum(
        "part_of" not in s.about for s in read_results(MINE).steps
    )

    show_plan(config, ["evaluation.samples=0"])
    shown = capsys.readouterr().out
    assert "exists" in shown
    assert "to do" not in shown
    assert "disk still to be written: about 0 MB" in flat(shown)
    assert "labelled 30" in flat(shown)


def test_a_finished_run_is_not_replaced_by_one_with_other_settings(config: str) -> None:
    asked = ["recipe=supervised", "evaluation.samples=0"]
    selfstudy.run(config, asked, name="causal", until="problems", quiet=True)
    prepare(config, [*asked, "seed=5"], run_name="causal").write()  # nothing that anyone waited for is lost
    selfstudy.run(config, asked, name="causal", quiet=True)
    before = (MINE / "config.yaml").read_bytes()
    message = r"run causal is finished, .* other settings or data \(seed: 0 → 5\); give this one a name of its own"
    with pytest.raises(ConfigError, match=message):
        selfstudy.run(config, [*asked, "seed=5"], name="causal", quiet=True)
    assert (MINE / "config.yaml").read_bytes() == before
    prepare(config, [*asked, "checkpoint_every=7"], run_name="causal").write()  # which changes no result
    for name, damage in (("plan.json", b"[{"), ("plan.json", b"[3]"), ("config.yaml", b"a: [")):
        selfstudy.run(config, asked, name="causal", quiet=True)
        (MINE / name).write_bytes(damage)
        prepare(config, [*asked, "seed=5"], run_name="causal").write()  # what cannot be read is written anew


@pytest.mark.parametrize(("load", "threads", "said"), [(7.5, 2, True), (3.0, 2, False), (7.5, 1, False)])
def test_whoever_shares_the_cores_is_told(
    load: float,
    threads: int,
    said: bool,
    config: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(running, "cores", lambda: 8)
    selfstudy.run(config, [f"compute.threads={threads}"], name="causal", until="problems")
    shown = flat(capsys.readouterr().out)
    assert ("a load of 7.5 on 8 cores" in shown) is said


def test_a_second_process_is_told_who_carries_out_the_run_and_changes_nothing(config: str) -> None:
    holder = f"process {os.getpid()} on "
    with (
        prepare(config).locked(),
        pytest.raises(StorageError, match=f"run causal is being made by {holder}.*; wait for it, or stop it and run"),
    ):
        selfstudy.run(config, ["rounds=2"], name="causal", quiet=True)
    assert not list(MINE.iterdir())


def test_what_a_dead_process_held_is_taken_over(config: str) -> None:
    MINE.mkdir(parents=True)
    (MINE / ".lock").write_text("process 1 on elsewhere")
    selfstudy.run(config, name="causal", quiet=True, until="problems")
    assert not (MINE / ".lock").exists()


def test_a_report_that_cannot_be_written_is_said_and_changes_nothing_else(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfstudy.report.page.gather", lambda run: {}["no such thing"])
    results = selfstudy.run(config, until="problems")
    assert results.step("problems").artifact
    captured = capsys.readouterr()
    assert "the report could not be written: KeyError: 'no such thing'" in flat(captured.err)
    assert "to try again: selfstudy report causal" in flat(captured.err)
    assert "report:" not in captured.out
    with pytest.raises(ConfigError, match="step 'dpo-1' needs 'sft'"):  # the run's own error
        selfstudy.run(config, only="dpo-1", quiet=True)
    assert "the report could not be written" in flat(capsys.readouterr().err)


def test_a_report_on_demand_imports_nothing_of_the_run(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    selfstudy.run(config, until="pair-samples-1", quiet=True)
    (MINE / "report.html").unlink()
    Path("parity.py").write_text("raise RuntimeError('imported')")
    (MINE / "parity.py").write_text("raise RuntimeError('imported')")
    show_report("causal", ROOT)
    assert f"report: {MINE / 'report.html'}" in flat(capsys.readouterr().out)
    show_report(str(MINE), Path("elsewhere"), Path("other.html"))
    assert Path("other.html").read_bytes() == (MINE / "report.html").read_bytes()
    with pytest.raises(ConfigError, match="no run 'casual'"):
        show_report("casual", ROOT)


def test_quiet_prints_nothing_even_on_a_terminal(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(running.console), "is_terminal", property(lambda self: True))
    selfstudy.run(config, until="sft", quiet=True)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_until_only_and_what_a_half_done_run_looks_like(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no step named 'stf'; did you mean 'sft'"):
        selfstudy.run(config, until="stf", quiet=True)
    assert not ROOT.exists() or not MINE.exists()
    with pytest.raises(ConfigError, match="step 'sft' needs 'problems', which does not exist yet"):
        selfstudy.run(config, only="sft", quiet=True)
    assert events()[-1]["event"] == "run_stopped"
    assert "needs 'problems'" in events()[-1]["message"]

    results = selfstudy.run(config, until="sft")
    assert results.step("sft").artifact
    assert results.chosen is None
    capsys.readouterr()
    show_status("causal", ROOT)
    shown = capsys.readouterr().out
    assert "✓ sft" in shown
    assert "· dpo-1" in shown
    assert "finished" in shown
    show_status(None, ROOT)
    shown = capsys.readouterr().out
    wholes = [step for step in results.steps if "part_of" not in step.about]
    done = sum(step.artifact is not None for step in wholes)
    assert f"causal: {done} of {len(wholes)} steps, finished" in flat(shown)

    selfstudy.run(config, only="evaluate/sft/dev/greedy", quiet=True)
    assert read_results(MINE).step("evaluate/sft/dev/greedy").artifact
    assert read_results(MINE).step("evaluate/sft/dev").artifact is None
    (ROOT / "artifacts").joinpath(read_results(MINE).step("evaluate/sft/dev/greedy").artifact.path.name).rename("gone")
    selfstudy.run(config, only="evaluate/sft/dev", quiet=True)  # with its parts, which plan does not list
    assert read_results(MINE).scores["sft", "dev"]


def test_status_as_json(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    results = selfstudy.run(config, until="sft", quiet=True)
    show_status("causal", ROOT, as_json=True)
    found = json.loads(capsys.readouterr().out)
    wholes = [step for step in results.steps if "part_of" not in step.about]
    done = sum(step.artifact is not None for step in wholes)
    assert (found["run"], found["done"], found["of"]) == ("causal", done, len(wholes))
    assert found["of"] == len(found["steps"])
    states = {step["step"]: step["state"] for step in found["steps"]}
    assert (states["sft"], states["dpo-1"]) == ("done", "to do")
    assert found["last_event"]["event"] == "run_finished"
    assert found["cost"]["flops"] == results.cost[1] > 0
    show_status(None, ROOT, as_json=True)
    (every,) = json.loads(capsys.readouterr().out)
    assert every == {name: found[name] for name in ("run", "last_event", "done", "of")}
    (results.step("sft").artifact.path / "model.safetensors").unlink()
    show_status(None, ROOT, as_json=True)
    assert "model.safetensors is missing" in json.loads(capsys.readouterr().out)[0]["damaged"]


def test_a_run_that_died(config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    class Deadly(running.Events):
        def emit(self, event: str, fields: Mapping[str, Any]) -> None:
            super().emit(event, fields)
            if event == "train_step":
                raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(running, "Events", Deadly)
        selfstudy.run(config, quiet=True)
    with (MINE / "events.jsonl").open("a") as file:  # killed in the middle of a line
        file.write('{"time": 1, "eve')
    capsys.readouterr()
    show_status("causal", ROOT)
    shown = capsys.readouterr().out
    assert "… sft" in shown
    assert "stopped" in shown
    show_plan(config)
    assert "to continue" in capsys.readouterr().out
    selfstudy.run(config, until="sft")
    shown = flat(capsys.readouterr().out)
    assert f"steps up to sft, in {MINE}" in shown
    assert "sft: continuing" in shown
    assert [e["event"] for e in events()].count("run_finished") == 1  # every line can be read


def test_a_damaged_run_is_said_to_be_damaged_and_hides_no_other(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    selfstudy.run(config, until="sft", quiet=True)
    selfstudy.run(config, ["seed=1"], until="problems", quiet=True, name="other")
    weights = read_results(MINE).step("sft").artifact.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    show_status(None, ROOT)
    shown = flat(capsys.readouterr().out)
    assert "causal: damaged:" in shown
    assert "model.safetensors has" in shown
    assert "other: 1 of" in shown
    with pytest.raises(StorageError, match=r"model\.safetensors has .* bytes instead of"):
        show_status("causal", ROOT)
    with pytest.raises(StorageError, match=r"delete .* and run again"):
        selfstudy.run(config, until="sft", quiet=True)


def test_status_of_runs_that_have_no_events_and_of_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_status(None, tmp_path)
    assert "no runs" in capsys.readouterr().out
    prepared = prepare("quickstart", [f"root={tmp_path}"])
    prepared.write()
    show_status(None, tmp_path)
    assert "quickstart: 0 of" in flat(capsys.readouterr().out)
    show_status("quickstart", tmp_path)
    assert "not started" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"no run 'quickstrat' below .*; there are: quickstart"):
        show_status("quickstrat", tmp_path)


def test_a_run_is_found_by_name_by_path_and_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare("quickstart", [f"root={tmp_path}"])
    prepared.write()
    folder = tmp_path / "runs" / "quickstart"
    assert find_run("quickstart", tmp_path) == find_run(str(folder), Path("elsewhere")) == folder
    monkeypatch.chdir(folder)
    assert find_results(".", Path("elsewhere")).step("sft").artifact is None
    assert find_run(".", Path("elsewhere")) == folder


def test_names_of_runs(tmp_path: Path) -> None:
    def name(*overrides: str, **more: Any) -> str:
        return prepare("quickstart", [f"root={tmp_path}", *overrides], **more).name

    assert name() == "quickstart"
    assert name("rounds=1") != name("rounds=3")
    assert name("rounds=1", "seed=2") == name("seed=2", "rounds=1")
    assert name("rounds=1").startswith("quickstart-")
    assert name("rounds=1", run_name="mine") == "mine"


def test_a_fault_of_a_verifier_stops_the_run_and_what_was_made_is_kept(
    small: Callable[..., str],  # noqa: F811
) -> None:
    config = small("causal", verifier="faulty.py")
    body = Path("parity.py").read_text().replace("class Parity", "class Faulty")
    fault = "if text and '####' not in text:\n            raise KeyError(text)\n        return"  # worked solutions pass
    Path("faulty.py").write_text(body.replace("return", fault))
    with pytest.raises(PluginError, match=r"verifier Faulty: problem word_problems/dev/.*, sample 0: raised KeyError"):
        selfstudy.run(config, quiet=True)
    assert "It failed at evaluate/sft/dev/greedy/verdicts" in (MINE / "report.html").read_text("utf-8")
    assert read_results(MINE).step("sft").artifact
    assert [e["event"] for e in events()][-1] == "run_stopped"
    assert not list((ROOT / "artifacts").glob("verdicts-*/manifest.json"))


@pytest.mark.parametrize("with_data", [True, False])
def test_the_command_line_plans_on_real_files(with_data: bool, data: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "SELFSTUDY_DATA"}
    if with_data:
        environment["SELFSTUDY_DATA"] = str(data)
    command = [sys.executable, "-m", "selfstudy.cli", "plan", "gsm8k_tiny"]
    environment |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    shown = flat(done.stdout)
    assert "dpo-st-1" in shown
    if with_data:
        sizes = r"[\d,]+"
        assert re.search(rf"problems: dev {sizes}, labelled {sizes}, test {sizes}, transfer-asdiv {sizes}", shown)
        assert "not on this machine" not in shown
    else:
        assert "not on this machine yet: gsm8k:" in shown
    assert not (tmp_path / "selfstudy-runs" / "artifacts").exists()


def test_whoever_stops_a_run_is_told_that_it_goes_on(
    small: Callable[..., str],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_steps", stopped)
    with pytest.raises(KeyboardInterrupt):
        selfstudy.run(small("causal"), quiet=True)
    assert capsys.readouterr().err == ""
    with pytest.raises(KeyboardInterrupt):
        selfstudy.run(small("causal"))
    assert "the same command goes on from here" in flat(capsys.readouterr().err)
