"""The study's grid can be run as it is written, its intervals count all chance, and the page shows what was found."""

import shlex
from collections.abc import Callable
from pathlib import Path

import kept
import msat
import numpy as np
import pytest
import real_problems
import study

from selfstudy.config import load_tree
from selfstudy.recipes.config import Config

PAGE = Path(study.__file__).parents[1] / "docs" / "results.md"


@pytest.mark.parametrize("row", [*study.METHODS, *study.ABLATIONS], ids=lambda row: row.name)
def test_each_row_of_the_grid_is_a_config(row: study.Row) -> None:
    """A row that cannot be parsed would be found after hours."""
    overrides = ["model=llama-tiny", f"recipe={row.recipe}", *row.overrides]
    config = Config.parse(load_tree(str(study.CONFIG), overrides), "study")
    assert config.evaluation.ks == (1, 5, 10)
    assert config.sft.epochs is None


@pytest.mark.parametrize("row", [*study.METHODS, *study.ABLATIONS], ids=lambda row: row.name)
def test_what_a_row_is_compared_with_has_its_budget(row: study.Row) -> None:
    """As many samples are drawn, and fine-tuning is as long; on as many solved problems as the study's others."""
    other = study.equal_budget(row)
    assert other.recipe == ("supervised" if row.recipe == "supervised" else "self_training")
    budgets = []
    for overrides in (row.overrides, other.overrides):
        config = Config.parse(load_tree(str(study.CONFIG), [*overrides, "seed=0"]), "study")
        budgets.append((config.rounds * (config.pairs.n + config.labels.n), config.sft.max_steps))
    assert budgets[0] == budgets[1]
    assert not any(override.startswith("problems.") for override in other.overrides)


def test_names_of_rows_differ() -> None:
    """Runs are named after them."""
    names = [row.name for row in (*study.METHODS, *study.ABLATIONS)]
    assert len(set(names)) == len(names)


def test_the_interval_counts_the_chance_in_seeds_and_in_problems() -> None:
    """Of values that differ by seed or by problem alone, the bootstrap's spread is known in closed form."""
    by_seed = np.repeat(np.array([[0.0], [1.0], [2.0], [3.0], [4.0]]), 50, axis=1)
    value, low, high = study.interval(by_seed, resamples=40_000)
    assert value == pytest.approx(2)
    # The mean of 5 draws with replacement from 0 … 4 is at most 0.6 in 1.8% of cases, and at most 0.8 in 4.0%.
    assert (low, high) == pytest.approx((0.8, 3.2))
    by_problem = np.repeat(np.arange(400.0)[None] % 2, 5, axis=0)
    value, low, high = study.interval(by_problem, resamples=40_000)
    assert value == pytest.approx(0.5)
    assert low == pytest.approx(0.5 - 1.96 * 0.5 / 20, abs=0.004)
    assert high == pytest.approx(0.5 + 1.96 * 0.5 / 20, abs=0.004)


def test_the_same_value_everywhere_has_no_width() -> None:
    """Nothing is added to what was measured."""
    assert study.interval(np.full((3, 7), 0.25)) == pytest.approx((0.25, 0.25, 0.25))


@pytest.fixture
def nothing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(*_: object, name: str, **__: object) -> None:
        raise AssertionError(f"{name} is not kept, or its settings are others now")

    monkeypatch.setattr(kept.selfstudy, "run", run)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("nothing_is_run")
def test_the_page_shows_what_is_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each table of the study in docs/results.md is printed again from what its runs left, none of which is run."""
    _compare(study.main, "python benchmarks/study.py", monkeypatch, capsys)


@pytest.mark.usefixtures("nothing_is_run", "data")
def test_the_page_shows_what_is_kept_of_real_problems(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So is what real problems gave."""
    _compare(real_problems.main, "SELFSTUDY_DATA=… python benchmarks/real_problems.py", monkeypatch, capsys)


@pytest.mark.usefixtures("nothing_is_run")
def test_the_page_shows_what_is_kept_of_msat(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So is what MsAT is worth in pretraining."""
    _compare(msat.main, "python benchmarks/msat.py", monkeypatch, capsys)


def _compare(
    main: Callable[[], None],
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Check that the page holds what the commands of this kind print, but for the day and the machine."""
    found = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(command)]
    assert found
    for line in found:
        monkeypatch.setattr("sys.argv", shlex.split(line.split("python ", 1)[1]))
        main()
        assert capsys.readouterr().out.split("\n\n", 1)[1].strip() in PAGE.read_text(encoding="utf-8")
