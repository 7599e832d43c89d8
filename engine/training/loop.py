"""The one training loop of learned generators and classifiers, on accelerate.

Nothing here knows a model.  A generator describes its networks and losses as `Turn`s and calls
`train`; one turn is ordinary training, two turns are a critic and a generator.  Data stay uint8
until they are on the device.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from engine.parts import Finding
from engine.training import progress
from engine.training.device import (
    Clock,
    Precision,
    new_accelerator,
    seeded,
    tensor,
    tensor_float,
    torch_generator,
)
from engine.training.minibatches import Minibatches, take
from engine.training.resume import here
from engine.training.stacked import fast_products
from engine.training.state import State

CHECK_EVERY = 100  # steps between looks at the loss: a look waits for the device
# (minibatch, noise) -> one loss, or one per replicate
Loss = Callable[[tuple[Tensor, ...], torch.Generator], Tensor]


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
    weight_decay: float = 0.0  # of AdamW, of matrices alone
    every: int = 1  # takes its turn at steps 1, 1 + every, ... only (lazy regularisation)
    after: Callable[[], None] | None = None  # called after each optimiser step (weight clipping)
    name: str = "loss"


@dataclass(frozen=True)
class Training:
    """How long and how, whatever the model."""

    steps: int
    batch: int
    replicates: int | None = None  # rows are drawn for each replicate apart: x [n, replicates, ...]
    precision: Precision = "no"
    ema: float = 0.0  # decay of the average of the weights that is kept; 0 keeps the last weights
    decay: bool = False  # let the learning rate fall along a cosine
    decay_to: float = 0.0  # the share of it that is left at the end
    warmup: int = 0  # steps over which the learning rate rises from nothing
    clip_norm: float = 0.0  # largest norm of a turn's gradient; 0: any
    channels_last: bool = False  # memory order of images that a GPU's convolutions like
    compile: bool = False  # torch.compile of every turn's model
    micro_batch: int | None = None  # rows whose gradient is computed at a time; None: all

    def rate(self, step: int) -> float:
        """The factor of every learning rate at this step, 1 to steps."""
        rising = min(1.0, step / self.warmup) if self.warmup else 1.0
        if not self.decay:
            return rising
        falling = 0.5 * (1 + np.cos(np.pi * (step - 1) / self.steps))
        return float(rising * (self.decay_to + (1 - self.decay_to) * falling))


def train(
    turns: Sequence[Turn], data: Sequence[np.ndarray], rng: np.random.Generator, how: Training
) -> dict[str, float]:
    """Train the models of all turns with Adam; they end on `device()`.

    Inside `resume.keeping` the state is kept every few minutes and a later call continues from it,
    to the same bits.  Under `accelerate launch` every process trains on its share of each
    minibatch.  Returns for each turn its mean loss over the last tenth of the steps and over the
    first tenth (`/first`), and the steps.  Raises Finding("diverged") for data, losses or weights
    that are not finite.
    """
    refuse_non_finite_data(data)
    place, accelerator = here(), new_accelerator(how.precision)
    models = list({id(turn.model): turn.model for turn in turns}.values())
    for model in models:
        model.to(accelerator.device).train()
        if how.channels_last:
            # nn.Module takes it; its overloads do not say so
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
    sums = torch.zeros(2, len(turns), device=accelerator.device)  # of the first and last tenth
    early = [_turns_taken(turn.every, 0, tenth) for turn in turns]
    late = [_turns_taken(turn.every, how.steps - tenth, how.steps) for turn in turns]
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
    parts = place.micro_batches
    if how.micro_batch is not None:
        parts = max(parts, -(-rows.batch // how.micro_batch))
    with seeded(rng), fast_products(how.replicates), tensor_float(how.precision):
        done = state.from_bytes(kept, about) if (kept := place.read(name)) else 0
        clock = Clock(accelerator.device)
        repeats = max(turn.repeats for turn in turns)
        for step in progress.steps(done, how.steps, how.batch * repeats):
            for i, turn in enumerate(turns):
                if (step - 1) % turn.every:
                    continue
                optimiser = optimisers[id(turn.model)]
                for group in optimiser.param_groups:
                    group["lr"] = group["initial_lr"] * how.rate(step)
                for _ in range(turn.repeats):
                    mine = next(rows)[accelerator.process_index :: accelerator.num_processes]
                    optimiser.zero_grad()
                    loss = _gradient(turn, tensors, mine, noise, accelerator, parts)
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
                place.write(name, partial(state.to_bytes, step, about))
        place.speed = {"resumed_at_step": float(done)} if done else {}
        place.speed |= clock.speed((how.steps - done) * how.batch * repeats)
    for model in models:
        if how.ema:
            model.load_state_dict(averages[id(model)].module.state_dict())
        _agree(model.buffers(), accelerator)
        model.eval()
    report = {} if place.micro_batches == 1 else {"micro_batches": float(place.micro_batches)}
    first, last = sums.tolist()
    return report | _report(turns, first, last, how.steps)


def _adam(turn: Turn, accelerator: Accelerator) -> Any:
    rate = {"lr": turn.lr, "initial_lr": turn.lr}
    parameters = list(turn.model.parameters())
    if not turn.weight_decay:
        adam = torch.optim.Adam([{"params": parameters} | rate], betas=turn.betas, fused=True)
        return _prepared(adam, accelerator)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": turn.weight_decay} | rate,
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0} | rate,
    ]
    return _prepared(torch.optim.AdamW(groups, betas=turn.betas, fused=True), accelerator)


def _prepared(optimiser: torch.optim.Optimizer, accelerator: Accelerator) -> Any:
    """accelerate's, where there are several processes or gradients are scaled; elsewhere it would
    do nothing, and look for optional packages along sys.path twice in every step.
    """
    alone = accelerator.num_processes == 1 and accelerator.scaler is None
    return optimiser if alone else accelerator.prepare(optimiser)


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
    parts = min(parts, len(rows))
    for part in [rows] if parts == 1 else rows.tensor_split(parts):
        batch = tuple(
            t.to(accelerator.device, non_blocking=True)
            for t in take(tensors, part.to(tensors[0].device))
        )
        with accelerator.autocast():
            loss = turn.loss(batch, noise)
            loss = loss if parts == 1 else loss * (len(part) / len(rows))
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
        which = ""
        if len(bad) > 1:
            which = f" in replicates {bad.nonzero().flatten().tolist()} of {len(bad)}"
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
