"""Where and how tensors are computed: part of every fingerprint, since all of it changes bytes."""

from __future__ import annotations

import gc
import os
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, ValidationInfo

from selfstudy.config import OUTSIDE_IDENTITY, Settings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _device(value: Any) -> Any:
    if value == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA device here, or torch is a CPU build; use cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if value == "auto" else value


def _dtype(value: Any) -> Any:
    if value == "float16":
        raise ValueError(
            "float16 ends at 65,504, which T5's activations exceed, and small gradients vanish in it; use bfloat16"
        )
    return value


def _devices(value: Any, info: ValidationInfo) -> Any:
    if value != "auto":
        return value
    return torch.cuda.device_count() if info.data.get("device") == "cuda" else 1


def _threads(value: Any, info: ValidationInfo) -> Any:
    if value != "auto":
        return value
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // info.data.get("devices", 1))


class Compute(Settings):
    """Device, precision and threads; ``auto`` is resolved when the config is read and saved with the run.

    Attributes:
        device: ``auto`` takes a GPU where there is one.
        dtype: Of the weights while sampling, and of the matrix products while training (master weights are float32).
        devices: Processes that sample, on a GPU each (never more than there are) or on the CPU together; ``auto`` takes
            all GPUs, or one process on a CPU. Training has a number of its own, ``sft.devices``.
        threads: CPU threads of each process; another number sums in another order. ``auto`` shares the cores out among
            ``devices``; where a number is stated, results are the same for any ``devices``.
        deterministic: Ask CUDA for deterministic kernels.
    """

    device: Annotated[Literal["cpu", "cuda"], BeforeValidator(_device)] = Field("auto", validate_default=True)
    dtype: Annotated[Literal["float32", "bfloat16"], BeforeValidator(_dtype)] = "float32"
    devices: Annotated[int, BeforeValidator(_devices), Field(ge=1, le=512), OUTSIDE_IDENTITY] = 1
    threads: Annotated[int, BeforeValidator(_threads), Field(ge=1, le=512)] = Field("auto", validate_default=True)
    deterministic: bool = False

    @property
    def places(self) -> tuple[str, ...]:
        """Where each of the processes that sample computes, as torch names it."""
        if self.device == "cpu" or self.devices == 1:
            return (self.device,) * self.devices
        return tuple(f"cuda:{number}" for number in range(min(self.devices, torch.cuda.device_count())))

    def apply(self, place: str | None = None) -> None:
        """Set the process's threads, kernels and GPU; stages call it before they touch a tensor."""
        torch.set_num_threads(self.threads)
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it, before its first call
        torch.use_deterministic_algorithms(self.deterministic and self.device == "cuda", warn_only=False)
        if place is not None and place.startswith("cuda:"):
            torch.cuda.set_device(place)

    def release(self) -> None:
        """Give back what this process keeps of a GPU's memory for later, so that another process can have it."""
        if self.device == "cuda":
            gc.collect()
            torch.cuda.empty_cache()

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        return DTYPES[self.dtype]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; on a CPU torch has no class of its own for that."""
    said = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(part in str(error) for part in said)
