"""Write the pictures of a report that the README and the site show: light and dark, from the report of a finished run.

``python docs/make_screenshots.py selfstudy-runs/runs/quickstart/report.html`` needs a Chromium; the run is that of
``selfstudy run quickstart``, so that the pictures show what whoever tries it will see.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.report.chromium import Page

IMAGES = Path(__file__).with_name("images")
SIZE = (1120, 720)
COLOURS = 96  # a report has few, and its letters stay smooth
# What is shown: the address behind the file, and what is brought to the top.
VIEWS = {"report": ("", "header"), "solutions": ("#change=right&set=test&open=1", "#filters")}


def main(report: Path) -> None:
    """Write a picture of each view."""
    with tempfile.TemporaryDirectory() as folder, Page(Path(folder)) as page:
        page.send("Emulation.setScrollbarsHidden", hidden=True)
        for name, (fragment, top) in VIEWS.items():
            for shade in ("light", "dark"):
                path = IMAGES / f"{name}-{shade}.png"
                page.open(report, fragment, width=SIZE[0], height=SIZE[1], dark=shade == "dark")
                page.run("new Promise((done) => setTimeout(done, 300))")  # problems are filled when they are opened
                page.run(f"document.querySelector('{top}').scrollIntoView({{behavior: 'instant'}})")
                page.run("new Promise((done) => setTimeout(done, 200))")
                page.screenshot(path)
                with Image.open(path) as picture:
                    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
                print(path, path.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
