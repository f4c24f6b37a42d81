"""Plots belong into the page: labelled, in its colours and fonts, without names that clash, the same every time."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from selfstudy.report.svg import Panel, Point, Series, by_round, over_steps


def rounds(title: str = "Accuracy") -> Panel:
    first = Series("<i>one</i> $x_1$", [Point(0, 0.4, 0.3, 0.5), Point(1, 0.6, 0.5, 0.7)])
    return by_round(title, [first, Series("empty", []), Series("two", [Point(1, 0.5)])], percent=True)


def steps(title: str = "Margin", n: int = 400) -> Panel:
    return over_steps(title, [Series("a", [Point(x, x / n) for x in range(1, n + 1)])], unit="nats", used=(20, "used"))


@pytest.mark.parametrize("make", [rounds, steps])
def test_the_same_bytes_every_time(make) -> None:
    assert make().svg == make().svg


@pytest.mark.parametrize("panel", [rounds(), steps()])
def test_it_is_whole_labelled_and_in_the_pages_colours(panel: Panel) -> None:
    tree = ET.fromstring(panel.svg)
    assert tree.tag == "svg"
    assert set(tree.attrib) == {"viewBox", "aria-hidden", "focusable"}  # as wide as the page lets it be
    words = {text.text for text in tree.iter("text")}
    assert words & {"round", "optimizer step"}
    assert words & {"%", "nats"}
    assert "http" not in panel.svg
    assert "<metadata" not in panel.svg
    assert "<style" not in panel.svg  # it would count for the whole page
    assert set(re.findall(r"#[0-9a-f]{6}\b", panel.svg)) == set()
    assert {"var(--c1)", "var(--muted)", "var(--line)"} <= set(re.findall(r"var\(--\w+\)", panel.svg))


def test_ids_of_two_plots_differ_and_every_reference_is_there() -> None:
    names = []
    for panel in (rounds("A b"), rounds("A c"), steps()):
        ids = re.findall(r' id="([^"]*)"', panel.svg)
        assert set(ids) == set(re.findall(r'(?:href="|url\()#([^")]*)', panel.svg))
        names += ids
    assert names
    assert len(names) == len(set(names))


def test_words_and_keys_say_what_the_plot_shows() -> None:
    panel = rounds()
    assert panel.keys == [("<i>one</i> $x_1$", "●", 1), ("two", "■", 2)]
    assert panel.described == (
        "Accuracy. <i>one</i> $x_1$: round 0 40 (30 to 50), round 1 60 (50 to 70); two: round 1 50"
    )
    assert steps().described == "Margin. a: 0.0025 at step 1, 1 at step 400; used is step 20"


def test_a_long_line_is_averaged_and_stays_small() -> None:
    assert len(steps(n=20_000).svg) < 15_000
    assert len(steps(n=20_000).svg) < 1.2 * len(steps(n=150).svg)


def test_the_users_own_style_changes_nothing() -> None:
    import matplotlib as mpl

    before = rounds().svg
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "lines.linewidth": 9}):
        assert rounds().svg == before
    assert mpl.rcParams["font.size"] != 30
