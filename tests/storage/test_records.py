"""Records survive the way to disk and back, whatever text a model writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfstudy.errors import StorageError
from selfstudy.storage.atomic import publish_folder, replacing
from selfstudy.storage.records import read_records, write_records
from selfstudy.storage.seeding import derive
from selfstudy.types import Completion, Example, Pair, Problem, Sample, Verdict

texts = st.text(st.characters(codec=None), max_size=20)  # lone surrogates included
spans = st.lists(st.tuples(st.integers(0, 9), st.integers(10, 19)), max_size=2).map(tuple)
completions = st.builds(
    Completion,
    texts,
    st.lists(st.integers(0, 10**6), max_size=5).map(tuple),
    spans,
    st.sampled_from(["stop", "length"]),
)
floats = st.floats(allow_nan=False, allow_infinity=False)
records = {
    Problem: st.builds(Problem, texts, texts, texts, st.none() | texts, st.dictionaries(texts, texts, max_size=2)),
    Sample: st.builds(Sample, texts, st.integers(0, 99), completions, floats),
    Verdict: st.builds(
        Verdict, texts, st.integers(0, 99), st.sampled_from(["right", "wrong"]), st.none() | texts, texts
    ),
    Pair: st.builds(Pair, texts, completions, completions, st.sampled_from(["gold", "sample"]), floats),
    Example: st.builds(Example, texts, completions, st.sampled_from(["gold", "pseudo"])),
}


@pytest.mark.parametrize("kind", records, ids=lambda kind: kind.__name__)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_round_trip(kind: type, data: st.DataObject, tmp_path: Path) -> None:
    some = data.draw(st.lists(records[kind], max_size=4))
    assert write_records(tmp_path / "r.jsonl", some) == len(some)
    assert list(read_records(tmp_path / "r.jsonl", kind)) == some


def test_broken_line_is_named(tmp_path: Path) -> None:
    write_records(tmp_path / "r.jsonl", [Problem("a", "q", "1")])
    with (tmp_path / "r.jsonl").open("a") as file:
        file.write('{"id": "b"}\n')
    with pytest.raises(StorageError, match=r"r\.jsonl:2: not a Problem record"):
        list(read_records(tmp_path / "r.jsonl", Problem))


def test_failed_writes_leave_nothing(tmp_path: Path) -> None:
    def records() -> object:
        yield Problem("a", "q", "1")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_records(tmp_path / "r.jsonl", records())
    with pytest.raises(RuntimeError), replacing(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(RuntimeError), publish_folder(tmp_path / "folder") as temporary:
        (temporary / "x").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_seeds_differ_by_every_part_and_are_fixed() -> None:
    assert derive(0, "order", 1) == 1545196177657846902  # a change would re-draw everything anyone has drawn
    seeds = {derive(s, p, n) for s in range(3) for p in ("order", "dropout") for n in range(50)}
    assert len(seeds) == 300
    assert derive(1, "a", "b") != derive(1, "ab")
    assert all(0 <= seed < 2**63 for seed in seeds)
