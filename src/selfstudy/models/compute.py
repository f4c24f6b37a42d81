"""Where and how tensors are computed: part of every fingerprint, since all of it changes bytes."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field

from selfstudy.config import Settings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _device(value: Any) -> Any:
    if value == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA device here, or torch is a CPU build; use cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if value == "auto" else value


def _threads(value: Any) -> Any:
    if value != "auto":
        return value
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Compute(Settings):
    """Device, precision and threads; ``auto`` is resolved when the config is read and saved with the run.

    Attributes:
        device: ``auto`` takes a GPU where there is one.
        dtype: Of the weights while sampling, and of the matrix products while training (master weights are float32).
        threads: CPU threads; another number sums in another order.
        deterministic: Ask CUDA for deterministic kernels.
    """

    device: Annotated[Literal["cpu", "cuda"], BeforeValidator(_device)] = Field("auto", validate_default=True)
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: Annotated[int, BeforeValidator(_threads), Field(ge=1, le=512)] = Field("auto", validate_default=True)
    deterministic: bool = False

    def apply(self) -> None:
        """Set the process's threads and kernels; stages call it before they touch a tensor."""
        torch.set_num_threads(self.threads)
        torch.use_deterministic_algorithms(self.deterministic and self.device == "cuda", warn_only=False)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        return DTYPES[self.dtype]
