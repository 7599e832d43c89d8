"""What learned generators and classifiers share: one training loop on accelerate, named streams for
torch, weights to file.

Nothing here knows a model.  A generator describes its networks and losses as `Turn`s and calls
                             `train`; one turn is ordinary
training, two turns are a critic and a generator.  Data stay uint8 until they are on the device.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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

from engine._memory import keep_freed_memory
from engine.parts import Finding
from engine.training.minibatches import Minibatches, take
from engine.training.resume import here
from engine.training.state import State

CHECK_EVERY = 100  # steps between looks at the loss: a look waits for the device
Precision = Literal[
    "no", "tf32", "bf16", "fp16"
]  # "no": float32 throughout; "tf32": products of float32 in a GPU's TF32
Loss = Callable[
    [tuple[Tensor, ...], torch.Generator], Tensor
]  # (minibatch, noise) -> one loss, or one per replicate


# ---- device and streams --------------------------------------------------------------------------


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


# ---- speed ---------------------------------------------------------------------------------------

STACK_PAYS = 4  # replicates from which oneDNN's batched products are faster than the default ones


@contextmanager
def fast_products(replicates: int | None) -> Iterator[None]:
    """Inside, batched float32 products of stacked networks go through oneDNN (x1.7 where it has
    AVX-512 kernels and MKL not).

    The switch allows bf16 inside, so it is kept only where a probe finds float32's accuracy (with
    AMX units it would round).
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


@contextmanager
def tensor_float(precision: Precision) -> Iterator[None]:
    """Inside, a GPU computes products and convolutions of float32 in TF32 if that was asked for,
    else in full precision.
    """
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


def _products_are_exact() -> bool:
    a = torch.linspace(-1, 1, 4 * 64 * 64).sin().view(4, 64, 64)
    error = torch.bmm(a, a).double() - torch.bmm(a.double(), a.double())
    return float(error.abs().max()) < 1e-4


keep_freed_memory()


# ---- training ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """One network's part in a training step.

    Turns that change the same model share one optimiser, the first one's.
    """

    model: nn.Module  # whose parameters this turn changes
    loss: Loss
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    repeats: int = 1  # optimiser steps per training step, each on a minibatch of its own
    every: int = (
        1  # takes its turn at steps 1, 1 + every, 1 + 2 every, ... only (lazy regularisation)
    )
    after: Callable[[], None] | None = None  # called after each optimiser step (weight clipping)
    name: str = "loss"


@dataclass(frozen=True)
class Training:
    """How long and how, whatever the model."""

    steps: int
    batch: int
    replicates: int | None = None  # rows are drawn for each replicate apart: x [n, replicates, ...]
    precision: Precision = "no"
    ema: float = (
        0.0  # decay of the average of the weights that is kept in the end; 0 keeps the last weights
    )
    decay: bool = False  # let the learning rate fall to nothing along a cosine
    warmup: int = 0  # steps over which the learning rate rises from nothing
    clip_norm: float = 0.0  # largest norm of a turn's gradient; 0: any
    channels_last: bool = False  # memory order of images that a GPU's convolutions like
    compile: bool = False  # torch.compile of every turn's model

    def rate(self, step: int) -> float:
        """The factor of every learning rate at this step, 1 to steps."""
        rising = min(1.0, step / self.warmup) if self.warmup else 1.0
        return rising * (0.5 * (1 + np.cos(np.pi * (step - 1) / self.steps)) if self.decay else 1.0)


def train(
    turns: Sequence[Turn], data: Sequence[np.ndarray], rng: np.random.Generator, how: Training
) -> dict[str, float]:
    """Train the models of all turns with Adam; they end on `device()`.

    Inside `partial.keeping` the state is kept every few minutes and a later call continues from it,
    to the same bits.  Under `accelerate launch` every process trains on its share of each
                       minibatch.
    Returns for each turn its mean loss over the last tenth of the steps and over the first tenth
    (`/first`), and the steps. Raises Finding("diverged") for data, losses or weights that are not
    finite.
    """
    refuse_non_finite_data(data)
    place, accelerator = here(), new_accelerator(how.precision)
    models = list({id(turn.model): turn.model for turn in turns}.values())
    for model in models:
        model.to(accelerator.device).train()
        if how.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decay = get_ema_multi_avg_fn(how.ema)
    averages = {
        id(m): AveragedModel(m, multi_avg_fn=decay, use_buffers=True) for m in models if how.ema
    }
    optimisers = {id(turn.model): _adam(turn, accelerator) for turn in reversed(turns)}
    for model in models if how.compile else ():
        model.compile()
    tensors = [_near(array, accelerator.device) for array in data]
    noise = torch_generator(rng, accelerator.device)
    noise.manual_seed((noise.initial_seed() + accelerator.process_index) % 2**63)
    rows = Minibatches(len(data[0]), how.batch, rng, how.replicates)
    tenth = max(1, how.steps // 10)
    sums = torch.zeros(
        2, len(turns), device=accelerator.device
    )  # losses of the first and of the last tenth
    early, late = (
        [_turns_taken(turn.every, a, b) for turn in turns]
        for a, b in ((0, tenth), (how.steps - tenth, how.steps))
    )
    sums[1, [count == 0 for count in late]] = float("nan")
    state = State(
        [*models, *averages.values()],
        [*optimisers.values()],
        rng,
        rows,
        noise,
        sums,
        accelerator.scaler,
    )
    about, name = json.dumps([place.machine, repr(how), place.micro_batches]), place.next_name()
    with seeded(rng), fast_products(how.replicates), tensor_float(how.precision):
        done = state.from_bytes(kept, about) if (kept := place.read(name)) else 0
        clock = Clock(accelerator.device)
        for step in range(done + 1, how.steps + 1):
            for i, turn in enumerate(turns):
                if (step - 1) % turn.every:
                    continue
                optimiser = optimisers[id(turn.model)]
                for group in optimiser.param_groups:
                    group["lr"] = group["initial_lr"] * how.rate(step)
                for _ in range(turn.repeats):
                    mine = next(rows)[accelerator.process_index :: accelerator.num_processes]
                    optimiser.zero_grad()
                    loss = _gradient(turn, tensors, mine, noise, accelerator, place.micro_batches)
                    if how.clip_norm:
                        accelerator.clip_grad_norm_(turn.model.parameters(), how.clip_norm)
                    optimiser.step()
                    if turn.after is not None:
                        turn.after()
                if step <= tenth:
                    sums[0, i] += loss.mean() / early[i]
                if step > how.steps - tenth:
                    sums[1, i] += loss.mean() / late[i]
                if step % CHECK_EVERY == 0 or step == how.steps:
                    _refuse_diverged(turn, loss, step)
            for model in models if how.ema else ():
                averages[id(model)].update_parameters(model)
            if place.due() and step < how.steps and accelerator.is_main_process:
                place.write(name, state.to_bytes(step, about))
        place.speed = {"resumed_at_step": float(done)} if done else {}
        place.speed |= clock.speed(
            (how.steps - done) * how.batch * max(turn.repeats for turn in turns)
        )
    for model in models:
        if how.ema:
            model.load_state_dict(averages[id(model)].module.state_dict())
        _agree(model.buffers(), accelerator)
        model.eval()
    report = {} if place.micro_batches == 1 else {"micro_batches": float(place.micro_batches)}
    first, last = sums.tolist()
    return report | _report(turns, first, last, how.steps)


def _adam(turn: Turn, accelerator: Accelerator) -> Any:
    group = {"params": list(turn.model.parameters()), "lr": turn.lr, "initial_lr": turn.lr}
    return accelerator.prepare(torch.optim.Adam([group], lr=turn.lr, betas=turn.betas, fused=True))


def _turns_taken(every: int, done: int, until: int) -> int:
    """How many of the steps done + 1, ..., until are a turn's that comes every so many steps."""
    return len(range(-(-done // every) * every, until, every))


def _gradient(
    turn: Turn,
    tensors: list[Tensor],
    rows: Tensor,
    noise: torch.Generator,
    accelerator: Accelerator,
    parts: int,
) -> Tensor:
    """Add the gradient of the turn's loss over these rows to its parameters; the detached loss, []
    or [replicates].
    """
    parameters = [p for p in turn.model.parameters() if p.requires_grad]
    total: Tensor | None = None
    for part in rows.tensor_split(min(parts, len(rows))):
        batch = tuple(
            t.to(accelerator.device, non_blocking=True)
            for t in take(tensors, part.to(tensors[0].device))
        )
        with accelerator.autocast():
            loss = turn.loss(batch, noise) * (len(part) / len(rows))
        accelerator.backward(loss.sum(), inputs=parameters)
        total = loss.detach() if total is None else total + loss.detach()
    _agree([p.grad for p in parameters if p.grad is not None], accelerator)
    assert total is not None
    return total


def _agree(values: Iterable[Tensor], accelerator: Accelerator) -> None:
    """Where several processes train one model: the mean over them, in place."""
    floats = [v for v in values if v.is_floating_point()]
    if accelerator.num_processes == 1 or not floats:
        return
    flat = torch.cat([v.reshape(-1) for v in floats])
    torch.distributed.all_reduce(flat)
    for value, mean in zip(
        floats, (flat / accelerator.num_processes).split([v.numel() for v in floats]), strict=True
    ):
        value.copy_(mean.view_as(value))


def _near(array: np.ndarray, on: torch.device) -> Tensor:
    """The array on the device, or in this machine's memory where it would fill more than a quarter
    of a GPU's.
    """
    if on.type == "cuda" and array.nbytes > torch.cuda.mem_get_info(on)[0] // 4:
        return tensor(array)
    return tensor(array, on)


def refuse_non_finite_data(data: Sequence[np.ndarray]) -> None:
    if any(np.issubdtype(a.dtype, np.floating) and not np.isfinite(a).all() for a in data):
        raise Finding("diverged", "the training set holds values that are not finite")


def _refuse_diverged(turn: Turn, loss: Tensor, step: int) -> None:
    """A loss or a weight that is not finite stays so: looking now and then misses nothing."""
    bad = (~torch.isfinite(loss)).reshape(-1)
    if bad.any():
        which = (
            f" in replicates {bad.nonzero().flatten().tolist()} of {len(bad)}"
            if len(bad) > 1
            else ""
        )
        raise Finding("diverged", f"{turn.name} is not finite at step {step}{which}")
    if not all(bool(torch.isfinite(p).all()) for p in turn.model.parameters()):
        raise Finding("diverged", f"weights are not finite at step {step}")


def _report(
    turns: Sequence[Turn], first: list[float], last: list[float], steps: int
) -> dict[str, float]:
    report = {"steps": float(steps)}
    for turn, early, late in zip(turns, first, last, strict=True):
        report |= {turn.name: late, f"{turn.name}/first": early}
    return report


# ---- weights -------------------------------------------------------------------------------------


def save_weights(model: nn.Module, folder: Path, config: dict[str, Any]) -> None:
    """weights.safetensors, and what is needed to build the network again in config.json."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    (folder / "weights.safetensors").write_bytes(save(state))
    (folder / "config.json").write_text(json.dumps(config, sort_keys=True, indent=1) + "\n")


def load_weights(
    folder: Path, build: Callable[[dict[str, Any]], nn.Module]
) -> tuple[nn.Module, dict[str, Any]]:
    """The network that `build` makes from the config, with its weights, on the device."""
    config = json.loads((folder / "config.json").read_text())
    model = build(config)
    model.load_state_dict(load((folder / "weights.safetensors").read_bytes()))
    return model.to(device()).eval(), config


# ---- stacked replicates --------------------------------------------------------------------------


class StackedLinear(nn.Module):
    """One linear layer per replicate, all in one batched product: [replicates, b, n_in] ->
    [replicates, b, n_out].
    """

    def __init__(self, replicates: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = n_in**-0.5  # nn.Linear's
        self.weight = nn.Parameter(torch.empty(replicates, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(replicates, 1, n_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


def stacked_mlp(
    replicates: int, sizes: Sequence[int], activation: type[nn.Module]
) -> nn.Sequential:
    """An MLP per replicate; sizes are the widths from input to output."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [StackedLinear(replicates, n_in, n_out), activation()]
    return nn.Sequential(*layers[:-1])


class Standardise(nn.Module):
    """Zero mean and unit variance for each replicate and direction of the points [n, replicates, d]
    it learnt from.
    """

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
