"""What learned generators and classifiers share: one training loop on accelerate, named streams for torch, weights to file.

Nothing here knows a model.  A generator describes its networks and losses as `Turn`s and calls `train`; one turn is ordinary
training, two turns are a critic and a generator.  Data stay uint8 until they are on the device.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from engine.memory import keep_freed_memory
from engine.parts import Finding

CHECK_EVERY = 100  # steps between looks at the loss: a look waits for the device
Precision = Literal["no", "bf16", "fp16"]
Loss = Callable[[tuple[Tensor, ...], torch.Generator], Tensor]  # (minibatch, noise) -> one loss, or one per replicate


# ---- device and streams -------------------------------------------------------------------------------------------------


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
    """Inside, torch's global stream (initialisers, dropout) follows rng; afterwards it is as it was."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_available() else []):
        torch.manual_seed(seed(rng))
        yield


def new_accelerator(precision: Precision = "no") -> Accelerator:
    """An Accelerator free of what an earlier one in this process left behind (accelerate keeps its state in singletons).

    fp16 without a GPU is refused: accelerate would report fp16 and compute in float32.
    """
    if precision == "fp16" and device().type == "cpu":
        raise ValueError("precision='fp16' needs a GPU; use 'bf16' or 'no' on a CPU")
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    if device().type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)  # torch names an operation that has none
    return Accelerator(mixed_precision=precision, cpu=device().type == "cpu")


def tensor(array: np.ndarray, on: torch.device | str = "cpu") -> Tensor:
    """The array on the device, in its own type; shares memory on the CPU where the array may be written."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(on)


# ---- speed on a CPU -----------------------------------------------------------------------------------------------------

STACK_PAYS = 4  # replicates from which oneDNN's batched products are faster than the default ones


@contextmanager
def fast_products(replicates: int | None) -> Iterator[None]:
    """Inside, batched float32 products of stacked networks go through oneDNN (x1.7 where it has AVX-512 kernels and MKL not).

    The switch allows bf16 inside, so it is kept only where a probe finds float32's accuracy (with AMX units it would round).
    """
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = setting.fp32_precision
    if (replicates or 1) >= STACK_PAYS and device().type == "cpu":
        setting.fp32_precision = "bf16"
        if not _products_are_exact():
            setting.fp32_precision = before
    try:
        yield
    finally:
        setting.fp32_precision = before


def _products_are_exact() -> bool:
    a = torch.linspace(-1, 1, 4 * 64 * 64).sin().view(4, 64, 64)
    error = torch.bmm(a, a).double() - torch.bmm(a.double(), a.double())
    return float(error.abs().max()) < 1e-4


keep_freed_memory()


# ---- training -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """One network's part in a training step."""

    model: nn.Module  # whose parameters this turn changes
    loss: Loss
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    repeats: int = 1  # optimiser steps per training step, each on a minibatch of its own
    after: Callable[[], None] | None = None  # called after each optimiser step (weight clipping)
    name: str = "loss"


@dataclass(frozen=True)
class Training:
    """How long and how, whatever the model."""

    steps: int
    batch: int
    replicates: int | None = None  # rows are drawn for each replicate apart: x [n, replicates, ...]
    precision: Precision = "no"
    ema: float = 0.0  # decay of the average of the weights that is kept in the end; 0 keeps the last weights
    decay: bool = False  # let the learning rate fall to nothing along a cosine


def train(turns: Sequence[Turn], data: Sequence[np.ndarray], rng: np.random.Generator, how: Training) -> dict[str, float]:
    """Train the models of all turns with Adam; they end on `device()`.

    Returns for each turn its mean loss over the last tenth of the steps and over the first tenth (`/first`), and the steps.
    Raises Finding("diverged") for data, losses or weights that are not finite.
    """
    refuse_non_finite_data(data)
    accelerator = new_accelerator(how.precision)
    for turn in turns:
        turn.model.to(accelerator.device).train()
    averages = [_average(turn.model, how.ema) for turn in turns]
    parameters = [list(turn.model.parameters()) for turn in turns]
    optimisers = [
        accelerator.prepare(torch.optim.Adam(p, lr=t.lr, betas=t.betas, fused=True))
        for t, p in zip(turns, parameters, strict=True)
    ]
    tensors = [tensor(array, accelerator.device) for array in data]
    rows = minibatches(len(data[0]), how.batch, rng, how.replicates)
    noise = torch_generator(rng, accelerator.device)
    tenth = max(1, how.steps // 10)
    first, last = torch.zeros(2, len(turns), device=accelerator.device)
    with seeded(rng), fast_products(how.replicates):
        for step in range(1, how.steps + 1):
            for i, turn in enumerate(turns):
                if how.decay:
                    for group in optimisers[i].param_groups:
                        group["lr"] = turn.lr * 0.5 * (1 + np.cos(np.pi * (step - 1) / how.steps))
                for _ in range(turn.repeats):
                    batch = take(tensors, next(rows).to(accelerator.device))
                    with accelerator.autocast():
                        loss = turn.loss(batch, noise)
                    optimisers[i].zero_grad()
                    accelerator.backward(loss.sum(), inputs=parameters[i])
                    optimisers[i].step()
                    if turn.after is not None:
                        turn.after()
                if (average := averages[i]) is not None:
                    average.update_parameters(turn.model)
                if step <= tenth:
                    first[i] += loss.detach().mean() / tenth
                if step > how.steps - tenth:
                    last[i] += loss.detach().mean() / tenth
                if step % CHECK_EVERY == 0 or step == how.steps:
                    _refuse_diverged(turn, loss, step)
    for turn, average in zip(turns, averages, strict=True):
        if average is not None:
            turn.model.load_state_dict(average.module.state_dict())
        turn.model.eval()
    return _report(turns, first.tolist(), last.tolist(), how.steps)


def minibatches(n: int, batch: int, rng: np.random.Generator, replicates: int | None = None) -> Iterator[Tensor]:
    """Rows [batch] without end, or [batch, replicates] shuffled apart: a new order every epoch, its incomplete rest dropped."""
    batch = min(batch, n)
    while True:
        if replicates is None:
            order = rng.permutation(n)  # [n]
        else:
            order = rng.permuted(np.tile(np.arange(n), (replicates, 1)), axis=1).T.copy()  # [n, replicates]
        yield from torch.from_numpy(order)[: n - n % batch].split(batch)


def take(tensors: Sequence[Tensor], rows: Tensor) -> tuple[Tensor, ...]:
    """The rows [b], or per replicate [b, replicates], of each tensor (labels [n] are shared by all replicates)."""
    if rows.ndim == 1:
        return tuple(t[rows] for t in tensors)
    across = torch.arange(rows.shape[1], device=rows.device)
    return tuple(t[rows, across] if t.ndim > 1 else t[rows] for t in tensors)


def refuse_non_finite_data(data: Sequence[np.ndarray]) -> None:
    if any(np.issubdtype(a.dtype, np.floating) and not np.isfinite(a).all() for a in data):
        raise Finding("diverged", "the training set holds values that are not finite")


def _average(model: nn.Module, decay: float) -> AveragedModel | None:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None


def _refuse_diverged(turn: Turn, loss: Tensor, step: int) -> None:
    """A loss or a weight that is not finite stays so: looking now and then misses nothing."""
    bad = (~torch.isfinite(loss.detach())).reshape(-1)
    if bad.any():
        which = f" in replicates {bad.nonzero().flatten().tolist()} of {len(bad)}" if len(bad) > 1 else ""
        raise Finding("diverged", f"{turn.name} is not finite at step {step}{which}")
    if not all(bool(torch.isfinite(p).all()) for p in turn.model.parameters()):
        raise Finding("diverged", f"weights are not finite at step {step}")


def _report(turns: Sequence[Turn], first: list[float], last: list[float], steps: int) -> dict[str, float]:
    report = {"steps": float(steps)}
    for turn, early, late in zip(turns, first, last, strict=True):
        report |= {turn.name: late, f"{turn.name}/first": early}
    return report


# ---- weights ------------------------------------------------------------------------------------------------------------


def save_weights(model: nn.Module, folder: Path, config: dict[str, Any]) -> None:
    """weights.safetensors, and what is needed to build the network again in config.json."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    (folder / "weights.safetensors").write_bytes(save(state))
    (folder / "config.json").write_text(json.dumps(config, sort_keys=True, indent=1) + "\n")


def load_weights(folder: Path, build: Callable[[dict[str, Any]], nn.Module]) -> tuple[nn.Module, dict[str, Any]]:
    """The network that `build` makes from the config, with its weights, on the device."""
    config = json.loads((folder / "config.json").read_text())
    model = build(config)
    model.load_state_dict(load((folder / "weights.safetensors").read_bytes()))
    return model.to(device()).eval(), config


# ---- stacked replicates -------------------------------------------------------------------------------------------------


class StackedLinear(nn.Module):
    """One linear layer per replicate, all in one batched product: [replicates, b, n_in] -> [replicates, b, n_out]."""

    def __init__(self, replicates: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = n_in**-0.5  # nn.Linear's
        self.weight = nn.Parameter(torch.empty(replicates, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(replicates, 1, n_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


def stacked_mlp(replicates: int, sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """An MLP per replicate; sizes are the widths from input to output."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [StackedLinear(replicates, n_in, n_out), activation()]
    return nn.Sequential(*layers[:-1])


class Standardise(nn.Module):
    """Zero mean and unit variance for each replicate and direction of the points [n, replicates, d] it learnt from."""

    mean: Tensor
    sd: Tensor

    def __init__(self, replicates: int, d: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(replicates, 1, d))
        self.register_buffer("sd", torch.ones(replicates, 1, d))

    def learn(self, x: np.ndarray) -> None:
        mean, sd = x.mean(0)[:, None], x.std(0)[:, None]  # [replicates, 1, d]
        self.mean.copy_(torch.from_numpy(mean))
        self.sd.copy_(torch.from_numpy(np.where(sd > 0, sd, 1.0)))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.sd

    def inverse(self, z: Tensor) -> Tensor:
        return z * self.sd + self.mean
