"""The device a training runs on: its precision, its speed, and torch's random streams named by
numpy's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor

from engine._memory import keep_freed_memory

# "no": float32 throughout; "tf32": products of float32 in a GPU's TF32
Precision = Literal["no", "tf32", "bf16", "fp16"]


def device() -> torch.device:
    """The GPU this process was given, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed(rng: np.random.Generator) -> int:
    """A seed for torch, drawn from a named numpy stream."""
    return int(rng.integers(2**63))


def torch_generator(rng: np.random.Generator, on: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(on).manual_seed(seed(rng))


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """Inside, torch's global stream (initialisers, dropout) follows rng; afterwards it is as it
    was.
    """
    with torch.random.fork_rng(
        devices=range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    ):
        torch.manual_seed(seed(rng))
        yield


def new_accelerator(precision: Precision = "no") -> Accelerator:
    """An Accelerator free of what an earlier one in this process left behind (accelerate keeps its
    state in singletons).

    fp16 without a GPU is refused: accelerate would report fp16 and compute in float32.
    """
    if precision == "fp16" and device().type == "cpu":
        raise ValueError("precision='fp16' needs a GPU; use 'bf16' or 'no' on a CPU")
    keep_freed_memory()
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    if device().type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(
            True, warn_only=True
        )  # torch names an operation that has none
    return Accelerator(
        mixed_precision="no" if precision == "tf32" else precision, cpu=device().type == "cpu"
    )


def tensor(array: np.ndarray, on: torch.device | str = "cpu") -> Tensor:
    """The array on the device, in its own type; shares memory on the CPU where the array may be
    written.
    """
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(on)


@contextmanager
def tensor_float(precision: Precision) -> Iterator[None]:
    """Inside, a GPU computes products and convolutions of float32 in TF32 if that was asked for,
    else in full precision.
    """
    # made by torch when it is imported
    settings = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


class Clock:
    """Measures a training: examples per second and, on a GPU, the most memory it held."""

    def __init__(self, on: torch.device) -> None:
        self.on = on
        if on.type == "cuda":
            torch.cuda.reset_peak_memory_stats(on)
        self.started = time.perf_counter()

    def speed(self, examples: int) -> dict[str, float]:
        if self.on.type != "cuda":
            return {"examples_per_second": examples / (time.perf_counter() - self.started)}
        torch.cuda.synchronize(self.on)
        found = {"examples_per_second": examples / (time.perf_counter() - self.started)}
        return found | {"peak_memory_gb": torch.cuda.max_memory_allocated(self.on) / 1e9}
