"""The targets of fuzzing keep what they promise on their seeds, and on a few texts of hypothesis's."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import targets
from tests.fuzz.targets import SEEDS, TARGETS, read_corpus, write_corpus


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_found(name: str) -> None:
    for data in read_corpus(name):
        TARGETS[name](data)


def test_a_corpus_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "CORPUS", tmp_path / "corpus")
    assert read_corpus("csv") == []
    inputs = [b"", b"\0\n\xff", b"a" * 300]
    write_corpus("csv", inputs)
    assert read_corpus("csv") == inputs


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=200))
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)
