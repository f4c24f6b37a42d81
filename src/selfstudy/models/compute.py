"""Where and how tensors are computed: part of every fingerprint, since all of it changes bytes."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from selfstudy.config import OUTSIDE_IDENTITY, Settings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


_COUNT = TypeAdapter(Annotated[int, Field(ge=1)])


def _device(value: Any) -> Any:
    if isinstance(value, str) and value not in ("auto", "cpu", "cuda"):
        raise ValueError("use auto, cpu or cuda; to choose among several GPUs set CUDA_VISIBLE_DEVICES")
    if value == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA device here, or torch is a CPU build; use cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if value == "auto" else value


def _dtype(value: Any) -> Any:
    if value == "float16":
        raise ValueError(
            "float16 ends at 65,504, which T5's activations exceed, and small gradients vanish in it; use bfloat16"
        )
    return value


def cores() -> int:
    """Return how many cores this process may use; ``OMP_NUM_THREADS`` says so first, as to torch itself."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdecimal() and int(stated):
        return int(stated)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count(value: Any) -> int | None:
    """Return the whole number that a setting will be read as; None where it will be refused, or is a word."""
    try:
        return _COUNT.validate_python(value)
    except ValidationError:
        return None


class Compute(Settings):
    """Device, precision and threads; ``auto`` is resolved when the config is read and saved with the run.

    Attributes:
        device: ``auto`` takes a GPU where there is one.
        dtype: Of the weights while sampling, and of the matrix products while training (master weights are float32; the
            guard draws with them).
        devices: Processes that sample, on a GPU each (never more than there are) or on the CPU together; ``auto`` takes
            all GPUs, or as many processes as there are cores for ``threads``, where that is a number, or else one.
            Training has a number of its own, ``sft.devices``.
        threads: CPU threads of each process; another number sums in another order. ``auto`` shares the cores out among
            ``devices``: those that the process may use, or as many as ``OMP_NUM_THREADS`` says. Where a number is
            stated, results are the same for any ``devices``.
        deterministic: Ask CUDA for deterministic kernels.
    """

    device: Annotated[Literal["cpu", "cuda"], BeforeValidator(_device)] = Field("auto", validate_default=True)
    dtype: Annotated[Literal["float32", "bfloat16"], BeforeValidator(_dtype)] = "float32"
    devices: Annotated[int, Field(ge=1, le=512), OUTSIDE_IDENTITY] = 1
    threads: Annotated[int, Field(ge=1, le=512)] = Field("auto", validate_default=True)
    deterministic: bool = False

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, given: Any) -> Any:
        """Put numbers in the place of ``auto``; what is none of this is refused with the fields."""
        if not isinstance(given, Mapping):
            return given
        said = {"device": "auto", "devices": 1, "threads": "auto", **given}
        if said["devices"] == "auto":
            on_gpu = said["device"] in ("auto", "cuda") and torch.cuda.is_available()
            threads = _count(said["threads"])
            said["devices"] = torch.cuda.device_count() if on_gpu else max(1, cores() // threads) if threads else 1
        if said["threads"] == "auto":
            devices = _count(said["devices"])
            said["threads"] = max(1, cores() // devices) if devices else 1
        return said

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
