"""LoRA (Hu et al. 2021, arXiv 2106.09685): train small matrices beside frozen weights, then merge them in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from safetensors.torch import save_file
from transformers import PreTrainedModel

from selfstudy.config import Settings
from selfstudy.errors import ConfigError
from selfstudy.storage.atomic import as_os_error, write_bytes
from selfstudy.storage.seeding import derive

WEIGHTS, CONFIG = "adapter.safetensors", "adapter.json"


class LoraSettings(Settings):
    """Which layers get matrices, and how large.

    Attributes:
        rank: r, of the matrices.
        alpha: Their product is scaled by α / r.
        dropout: Of their input.
        targets: Names of layers, or ``all-linear`` for all but the output layer.
    """

    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"


class Adapter:
    """The matrices of a model, which is changed in place; everything that the model can do it goes on doing."""

    def __init__(self, model: PreTrainedModel, settings: LoraSettings, seed: int):
        """Freeze a model and put matrices beside its layers; they change nothing before they are trained.

        Raises:
            ConfigError: ``peft`` is not installed, or no layer has a name of ``targets``.
        """
        try:
            from peft import LoraConfig, LoraModel
        except ImportError as error:
            raise ConfigError(
                f"lora needs peft, but importing it fails ({error}); pip install 'selfstudy[lora]', or set lora: null"
            ) from error
        targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
        self._config = LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets
        )
        model.requires_grad_(False)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive(seed, "lora"))
                self._tuner: Any = LoraModel(model, {"default": self._config}, "default")
        except ValueError as error:
            raise ConfigError(f"lora.targets={targets}: {error}") from error

    def merge(self, folder: Path) -> None:
        """Write the matrices to ``folder``, add their products to the weights, and take them out of the model."""
        matrices = {name: p.detach() for name, p in self._tuner.model.named_parameters() if "lora_" in name}
        with as_os_error(folder / WEIGHTS):
            save_file({name: p.cpu().contiguous() for name, p in matrices.items()}, folder / WEIGHTS)
        # Under another name than peft's: beside weights that have them merged in, readers would add them once more.
        facts = json.dumps(self._config.to_dict(), indent=2, sort_keys=True, default=sorted)
        write_bytes(folder / CONFIG, f"{facts}\n".encode())
        self._tuner.merge_and_unload().requires_grad_(True)
