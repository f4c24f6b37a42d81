"""The report of a run as one HTML file that needs nothing else: no network, no other file, no plug-in of the run."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from selfstudy.errors import ConfigError
from selfstudy.report import words
from selfstudy.report.facts import Facts, gather
from selfstudy.report.figures import health_panels, loss_panels, preference_panels, score_panels, yield_panels
from selfstudy.storage.atomic import write_bytes

FILE_NAME = "report.html"
_FOLDER = Path(__file__).parent


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the report of a run, finished or not, and return its path; equal folders give equal bytes.

    Args:
        run: The run's folder.
        out: The file; ``report.html`` in the run's folder by default.

    Raises:
        ConfigError: ``out`` is a folder.
        StorageError: The run's plan cannot be read. What else cannot be read stands in the report.
    """
    path = out or run / FILE_NAME
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name a file in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, render(gather(run)).encode())
    return path


def render(facts: Facts) -> str:
    """Return the page."""
    style, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (words.percent, words.between, words.duration, words.power, words.points, words.split_name)
    environment.filters |= {each.__name__: each for each in filters}
    environment.filters |= {"verdict": words.verdict, "guarded": words.guarded, "markup": Markup}
    preferences = [training for training in facts.trainings if training.kind == "preference"]
    return environment.get_template("page.html.jinja").render(
        facts=facts,
        results=facts.results,
        # Whatever a run's text says, only this script is carried out.
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        style=Markup(style),
        script=Markup(script),
        data=Markup(facts.browser.json),
        scores=score_panels(facts),
        yields=yield_panels(facts),
        preferences=[(training, preference_panels(training)) for training in preferences],
        losses=loss_panels(facts),
        health=health_panels(facts),
        fault_names=words.FAULTS,
    )
