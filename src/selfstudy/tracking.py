"""Trackers: the numbers among a run's events, written where people watch several runs. No result depends on them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from selfstudy.errors import ConfigError

TrackerName = Literal["tensorboard", "wandb"]
_MODULES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}


class Tracker:
    """Takes in events; the first thing that goes wrong ends the tracking, never the run."""

    def __init__(self, name: TrackerName, folder: Path, complain: Callable[[str], None]) -> None:
        """Open a tracker for the run in ``folder``; ``complain`` is told, in words, where tracking fails.

        Raises:
            ConfigError: Its package is not installed; says how to get it.
        """
        self._name, self._complain, self._stage = name, complain, ""
        self._write: Callable[[Mapping[str, float], int], None] = lambda numbers, step: None
        self.close: Callable[[], None] = lambda: None
        try:
            module = importlib.import_module(_MODULES[name])
        except ImportError as error:
            raise ConfigError(f"track: {name} cannot be imported ({error}); pip install 'selfstudy[track]'") from None
        self._try(lambda: self._open(module, folder))

    def see(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write the numbers of an event, tagged with the step of the plan that they are from."""
        if event == "step_started":
            self._stage = fields["step"]
        elif event == "train_step":
            self._log(self._stage, fields, fields["step"])
        elif event == "guard":
            self._log(f"{self._stage}/guard", fields, fields["step"])
        elif event == "step_finished":
            self._log(f"{fields['step']}/result", fields["metrics"], fields["number"])
        elif event == "round":
            self._log("round", fields, fields["number"])

    def _log(self, tag: str, fields: Mapping[str, Any], step: int) -> None:
        numbers = {f"{tag}/{name}": value for name, value in _numbers(fields) if name not in ("step", "number")}
        self._try(lambda: self._write(numbers, step))

    def _open(self, module: Any, folder: Path) -> None:
        if self._name == "tensorboard":
            writer = module.SummaryWriter(str(folder / "tensorboard"))

            def write(numbers: Mapping[str, float], step: int) -> None:
                for tag, value in numbers.items():
                    writer.add_scalar(tag, value, step)

            self._write = write
            self.close = lambda: self._try(writer.close)
        else:
            # Beside runs and artifacts: it puts links into its folder, and a run refuses links in its own.
            session = module.init(project="selfstudy", name=folder.name, dir=str(folder.parents[1]))
            session.define_metric("*", step_metric="step")  # each stage counts its own; wandb's counter must rise
            self._write = lambda numbers, step: session.log({"step": step, **numbers})
            self.close = lambda: self._try(session.finish)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # somebody else's service; the run is worth more
            self._write, self.close = lambda numbers, step: None, lambda: None
            self._complain(f"track: {self._name} failed ({type(error).__name__}: {error}); the run goes on without it")


def _numbers(fields: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{path}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{path}{name}", value
