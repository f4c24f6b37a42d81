"""What lies in a run root: damage is found and named before anything uses it; only what nobody needs is removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest
import yaml

import selfstudy
from selfstudy.cli import main
from selfstudy.errors import StorageError
from selfstudy.keeping import collect, verify_run
from selfstudy.models.load import save_model
from selfstudy.models.tokenizers import train_tokenizer
from selfstudy.report.results import read_plan, read_results
from selfstudy.stages.base import Stage
from selfstudy.storage.artifacts import Store
from tests.fakes import CORPUS, tiny_llama
from tests.system.conftest import PARITY, SMALL

ROOT = Path("selfstudy-runs")
BASE = Path("base")  # the root of another run: of what no run from a model makes
RUN = ROOT / "runs" / "mine"
LAST = "labels-1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which runs of all kinds of stages were made."""
    folder = tmp_path_factory.mktemp("made")
    with chdir(folder):
        Path("parity.py").write_text(PARITY)
        tokenizer = train_tokenizer(CORPUS, "causal", 320)
        save_model(tiny_llama(len(tokenizer)), tokenizer, Path("model"), {})
        Path("mine.yaml").write_text(yaml.safe_dump({**SMALL, "model": "model"}))
        selfstudy.run("mine.yaml", until=LAST, name="mine", quiet=True)
        items = {"mixture": [{"source": {"name": "msat", "count": 40}, "weight": 1}], "max_steps": 2, "batch_size": 4}
        base = ["recipe=pretrain", "model=llama-tiny", f"pretraining={json.dumps(items)}", f"root={BASE}"]
        selfstudy.run("mine.yaml", base, name="mine", quiet=True)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy."""
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def again(**more: str) -> None:
    selfstudy.run("mine.yaml", until=LAST, name="mine", quiet=True, **more)  # type: ignore[arg-type]


def folders(root: Path = ROOT) -> list[Path]:
    return sorted(path.parent for path in root.glob("artifacts/*/manifest.json"))


def kinds(root: Path) -> set[str]:
    return {path.name.split("-")[0] for path in folders(root)}


def flat(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def flip(path: Path, at: float = 0.5) -> None:
    """Flip one bit, at some share of the file."""
    data = bytearray(path.read_bytes())
    data[min(int(at * len(data)), len(data) - 1)] ^= 1
    path.write_bytes(data)


def truncate(path: Path, at: float) -> None:
    """Keep some share of the file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(at * len(data))])


def verified(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["verify", *arguments])
    return int(stopped.value.code or 0)


def test_a_whole_run_is_whole(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verified("mine") == 0
    shown = flat(capsys)
    assert f"{len(folders())} artifacts as they were made" in shown
    assert "0 damaged or gone" in shown


@pytest.mark.parametrize("root", [ROOT, BASE], ids=str)
def test_damage_to_any_file_of_any_kind_is_found_and_named(
    root: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kinds(ROOT) | kinds(BASE) == set(kinds_of(Stage))
    assert len({(path.parent.name.split("-")[0], path.name) for path in ROOT.glob("artifacts/*/*")}) >= 25
    files = [file for folder in folders(root) for file in sorted(folder.iterdir()) if file.stat().st_size]
    for number, file in enumerate(files):
        whole = file.read_bytes()
        for damage in (flip, truncate):
            damage(file, number / len(files))  # in another place each time
            if file.name == "manifest.json" and _same_tree(whole, file.read_bytes()):
                file.write_bytes(whole)  # it was white space, or the last digit of a long number
                continue
            assert not verify_run("mine", root), file
            shown = flat(capsys)
            assert file.parent.name in shown
            assert file.name in shown or file.name == "manifest.json"
            assert "1 damaged or gone" in shown
            assert "run again to make it anew" in shown
            file.write_bytes(whole)
    assert verify_run("mine", root)


def kinds_of(stage: type[Stage]) -> Iterator[str]:
    """Return the kinds of artifact that the package's stages make."""
    if stage.__module__.startswith("selfstudy.") and "kind" in vars(stage):
        yield stage.kind
    for special in stage.__subclasses__():
        yield from kinds_of(special)


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors"])
def test_no_bit_of_a_manifest_or_of_weights_is_free(name: str, here: Path) -> None:
    """The metrics in it are results: 0.40 must not become 0.41."""
    folder = next(path for path in folders() if path.name.startswith("sft"))
    whole = (folder / name).read_bytes()
    missed = []
    for at in range(0, len(whole), max(1, len(whole) // 300)):
        data = bytearray(whole)
        data[at] ^= 1 << (at % 8)
        (folder / name).write_bytes(data)
        if name == "manifest.json" and _same_tree(whole, bytes(data)):
            continue  # white space, or the last digit of a long number
        if verify_run("mine", ROOT):
            missed.append(at)
    assert missed == []


def _same_tree(whole: bytes, data: bytes) -> bool:
    try:
        return bool(json.loads(whole) == json.loads(data))
    except ValueError:
        return False


@pytest.mark.parametrize("damage", ["truncated", "removed", "added", "version", "manifest gone", "renamed", "emptied"])
def test_other_damages(damage: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = next(path for path in folders() if path.name.startswith("samples"))
    file, named = folder / "part-00000.jsonl", folder.name
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "removed":
        file.unlink()
    elif damage == "added":  # it would be read as one more shard
        shutil.copy(file, folder / "part-00001.jsonl")
    elif damage == "version":
        tree = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(tree | {"format": 99}))
    elif damage == "manifest gone":
        (folder / "manifest.json").unlink()
    elif damage == "renamed":
        other = next(path for path in folders() if path.name.startswith("samples") and path != folder)
        shutil.rmtree(folder)
        shutil.copytree(other, folder)
    else:
        for entry in folder.iterdir():
            entry.unlink()
    assert verified("mine") == 1
    assert named in flat(capsys)
    with pytest.raises(StorageError, match=f"(?s){named}.*delete .*{named} and run again to make it anew"):
        again()


def test_what_was_made_and_is_gone_is_told_from_what_is_not_made_yet(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verify_run("mine", ROOT)
    assert "0 damaged or gone" in flat(capsys)
    folder = next(path for path in folders() if path.name.startswith("labels"))
    shutil.rmtree(folder)
    assert verified("mine") == 1
    shown = flat(capsys)
    assert f"labels-1: {folder} was made and is gone" in shown
    assert "1 damaged or gone" in shown
    again()
    assert verified("mine") == 0


@pytest.mark.parametrize("kind", ["problems", "sft", "samples", "verdicts", "pairs", "preference"])
def test_a_flipped_bit_is_found_before_a_step_uses_the_file(kind: str, here: Path) -> None:
    """The size is right, so only reading the file tells; and what would come of it is not made."""
    steps = {step.name: step.artifact.path for step in read_results(RUN).steps if step.artifact is not None}
    lines = {line["name"]: line for line in read_plan(RUN) if line["name"] in steps}
    victim = next(name for name in lines if lines[name]["kind"] == kind)
    users = [name for name in lines if any(victim in names for names in lines[name]["inputs"].values())]
    for name in users:
        shutil.rmtree(steps[name])
    assert users
    files = (path for path in steps[victim].iterdir() if path.name != "manifest.json")
    file = max(files, key=lambda path: path.stat().st_size)
    flip(file)
    said = (
        rf"{steps[victim].name}: the contents of {file.name} are not those that were made: .*; delete .* and run again"
    )
    with pytest.raises(StorageError, match=said):
        again()
    assert not any(steps[name].exists() for name in users)


def test_what_is_there_is_read_once_a_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    check = Store.check
    monkeypatch.setattr(
        Store, "check", lambda self, artifact: (seen.append(artifact.path.name), check(self, artifact))[1]
    )
    again()
    assert seen == []  # nothing is made, so nothing is used
    for path in folders():
        if path.name.startswith(("samples", "verdicts", "pairs", "preference", "labels", "scores")):
            shutil.rmtree(path)
    again()
    assert len(seen) == len(set(seen))
    assert {name.split("-")[0] for name in seen} == {"problems", "sft"}  # the others were made by this process


def test_a_root_may_be_moved_and_a_runs_folder_alone_may_not(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(ROOT, "elsewhere")
    assert verify_run("elsewhere/runs/mine", Path("nowhere"))
    assert verify_run("mine", Path("elsewhere"))
    before = sorted(Path("elsewhere/artifacts").iterdir())
    selfstudy.run("mine.yaml", ["root=elsewhere"], until=LAST, name="mine", quiet=True)
    assert sorted(Path("elsewhere/artifacts").iterdir()) == before
    Path("other/place").mkdir(parents=True)
    shutil.move("elsewhere/runs/mine", "other/place/mine")
    capsys.readouterr()
    assert not verify_run("other/place/mine", Path("elsewhere"))
    shown = flat(capsys)
    assert f"{len(before)} damaged or gone" in shown
    assert "sft: " in shown
    assert "the folder of a run belongs below runs/ of the root" in shown


def test_nothing_that_a_config_names_is_run(here: Path) -> None:
    Path("parity.py").write_text("raise SystemExit('the verifier was imported')")
    (RUN / "config.yaml").write_text("verifier: !!python/object/apply:os.abort []\n")
    assert verify_run("mine", ROOT)
    collect(ROOT, delete=False)


@pytest.mark.parametrize("text", ["", "{", "[]x", "[1]", '[{"name": "a"}]', "\0"])
def test_a_damaged_plan_is_named_and_nothing_is_removed_by_it(text: str, here: Path) -> None:
    (RUN / "plan.json").write_text(text)
    for act in (lambda: verify_run("mine", ROOT), lambda: collect(ROOT, delete=True)):
        with pytest.raises(StorageError, match=r"plan\.json: cannot be read"):
            act()
    assert folders()


def test_a_plan_that_names_a_place_elsewhere_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = json.loads((RUN / "plan.json").read_text())
    lines[0] |= {"kind": "../../elsewhere/problems", "artifact": "../../elsewhere/problems-0"}
    (RUN / "plan.json").write_text(json.dumps(lines))
    assert not verify_run("mine", ROOT)
    assert "is no name of an artifact" in flat(capsys)


# --- gc ---------------------------------------------------------------------------------------------------------------


def names() -> set[str]:
    return {path.name for path in (ROOT / "artifacts").iterdir()}


@pytest.fixture
def littered(here: Path) -> Callable[[], set[str]]:
    """A root with what runs need, what they do not, and what is not theirs; returns what may go."""
    artifacts = ROOT / "artifacts"
    orphan = artifacts / ("sft-" + "0" * 16)
    shutil.copytree(next(path for path in folders() if path.name.startswith("sft")), orphan)
    attempt = artifacts / ("samples-" + "1" * 16 + ".tmp")
    attempt.mkdir()
    (attempt / "part-00000.jsonl").write_text("x" * 1000)
    half = artifacts / f".sft-{'2' * 16}.doomed"
    half.mkdir()
    (artifacts / f".{attempt.name.removesuffix('.tmp')}.lock").write_text("process 1 on here")
    labels = next(path for path in folders() if path.name.startswith("labels"))
    labels.rename(labels.with_name(labels.name + ".tmp"))  # an attempt that the run can go on from
    (labels.with_name(labels.name + ".tmp") / "manifest.json").unlink()
    (artifacts / "notes").mkdir()
    (artifacts / "my-models-0").mkdir()
    Path("outside").mkdir()
    Path("outside/precious").write_text("mine")
    (artifacts / ("sft-" + "3" * 16)).symlink_to(Path("outside").resolve())
    return lambda: {orphan.name, attempt.name, half.name}


def test_what_no_run_needs_is_listed_and_stays(
    littered: Callable[[], set[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = names()
    collect(ROOT, delete=False)
    shown = capsys.readouterr().out
    assert {word for line in shown.splitlines() for word in line.split() if word in before} == littered()
    assert "3 below selfstudy-runs/artifacts that no run needs" in " ".join(shown.split())
    assert "gc --delete" in shown
    assert names() == before


def test_only_that_is_removed(littered: Callable[[], set[str]], capsys: pytest.CaptureFixture[str]) -> None:
    before = names()
    collect(ROOT, delete=True)
    gone = before - names()
    assert {name for name in gone if not name.endswith(".lock")} == littered()
    assert Path("outside/precious").read_text() == "mine"
    assert verified("mine") == 1  # the labels are an attempt here
    again()
    assert verified("mine") == 0
    collect(ROOT, delete=True)
    assert "there is nothing below" in flat(capsys)


def test_nothing_is_removed_while_something_is_made(littered: Callable[[], set[str]]) -> None:
    before = names()
    with (
        Store(ROOT).building("samples", "1" * 16),
        pytest.raises(StorageError, match=r"samples-1{16} is being made by process \d+ on"),
    ):
        collect(ROOT, delete=True)
    assert before - names() <= {f".samples-{'1' * 16}.lock"}


def test_a_root_without_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collect(tmp_path / "none", delete=True)
    assert "there is nothing below" in flat(capsys)
    assert not (tmp_path / "none").exists()
