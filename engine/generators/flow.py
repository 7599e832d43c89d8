"""Normalising flow by coupling layers: affine (RealNVP, Dinh et al. 1605.08803) or
rational-quadratic splines (Durkan et al. 1906.04032); MAD 2307.01850 retrains eight of them on the
Rosenbrock distribution.

Trained by maximum likelihood, with a density in closed form; not flow matching, which learns a
velocity.  The monotone maps are zuko's; the networks that choose them are stacked over replicates,
so that all flows train in one batched product.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

from engine.files import JsonObject
from engine.parts import Finding, Fraction, PositiveFloat, PositiveInt
from engine.samples import Samples
from engine.training.device import device, seeded, tensor
from engine.training.loop import Training, Turn, refuse_non_finite_data, train
from engine.training.stacked import Standardise, stacked_mlp
from engine.training.weights import load_weights, save_weights

BATCH_OUT = 4096  # points mapped at a time
LOG_2PI = math.log(2 * math.pi)


class Coupling(nn.Module):
    """Every other direction is moved by a monotone map, which an MLP per replicate chooses from
    those that stay.

    Where there is one direction only, none stay: its map is the same for all points.
    """

    def __init__(
        self, replicates: int, d: int, turn: int, width: int, bins: int, bound: float
    ) -> None:
        super().__init__()
        self.moved = [j for j in range(d) if d == 1 or j % 2 == turn % 2]
        self.unmoved = [j for j in range(d) if j not in self.moved]
        self.bound = bound  # of a spline, in standard deviations
        self.sizes = (
            [bins, bins, bins - 1] if bins else [1, 1]
        )  # widths, heights, slopes; or shift and log scale
        n_in, n_out = max(1, len(self.unmoved)), len(self.moved) * sum(self.sizes)
        self.chooser = stacked_mlp(replicates, (n_in, width, width, n_out), nn.ReLU)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the base: the points [replicates, b, d], and the log of the volume's change
        [replicates, b].
        """
        y, log_slope = self._map(x).call_and_ladj(x[..., self.moved])
        return self._with(x, y), log_slope.sum(-1)

    def inverse(self, y: Tensor) -> Tensor:
        return self._with(y, self._map(y).inv(y[..., self.moved]))

    def _map(self, x: Tensor) -> MonotonicAffineTransform | MonotonicRQSTransform:
        """One map per moved direction, chosen from the directions that stay."""
        seen = x[..., self.unmoved] if self.unmoved else torch.ones_like(x)
        chosen = self.chooser(seen).unflatten(-1, (len(self.moved), -1)).split(self.sizes, dim=-1)
        if len(chosen) == 2:
            return MonotonicAffineTransform(*(c.squeeze(-1) for c in chosen))
        return MonotonicRQSTransform(*chosen, bound=self.bound)

    def _with(self, x: Tensor, moved: Tensor) -> Tensor:
        out = x.clone()
        out[..., self.moved] = moved
        return out


class PointFlow(nn.Module):
    """Couplings between standardised points [replicates, b, d] and the base N(0, I)."""

    def __init__(
        self, replicates: int, d: int, transforms: int, width: int, bins: int, bound: float
    ) -> None:
        super().__init__()
        self.standardise = Standardise(replicates, d)
        self.couplings = nn.ModuleList(
            Coupling(replicates, d, i, width, bins, bound) for i in range(transforms)
        )

    def log_density(self, x: Tensor) -> Tensor:
        """Of points [replicates, b, d] in the data's own units: [replicates, b]."""
        z, log_volume = (
            self.standardise(x),
            -torch.log(self.standardise.sd).sum(-1),
        )  # [replicates, b, d], [replicates, 1]
        for coupling in self.couplings:
            z, change = coupling(z)
            log_volume = log_volume + change
        out: Tensor = log_volume - 0.5 * (z.square() + LOG_2PI).sum(-1)
        return out

    def decode(self, z: Tensor) -> Tensor:
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z)  # type: ignore[operator]  # a list of modules is of any
        return self.standardise.inverse(z)


class Flow:
    """Points [n, replicates, d], float32. Labels are ignored.

    coupling    kind of the monotone maps: spline (rational-quadratic) or affine (RealNVP).
    transforms  number of couplings (MAD: 8), so that each direction is moved by every other one.
    width       hidden units in each of the two layers of a coupling's network (MAD: 64).
    steps       optimiser steps of a fit (MAD: 20 epochs of 10,000 points in batches of 256, which
                are 780).
    batch       points per step.
    lr          Adam's learning rate, at the start.
    decay       let the learning rate fall to nothing along a cosine; false: it stays.
    bins        pieces of a spline; affine maps do not look at it.
    bound       a spline lives on [-bound, bound], in standard deviations of the data, and is the
                identity outside: tails there are the base's. The usual 5 cuts the tail of a
                Rosenbrock distribution, which reaches 10.
    ema         decay per step of the average of the weights, which is what is kept, below 1; 0: the
                last weights.
    warm_start  go on from the networks of the generation before, where they are of the same shape,
                instead of from new weights.
    """

    ACCEPTS = ("points",)
    CONTINUES = "warm_start"
    KNOWS = ("density",)
    COST = "small"
    TINY = {"steps": 5, "transforms": 2, "width": 8, "bins": 3}

    def __init__(
        self,
        *,
        coupling: Literal["spline", "affine"] = "spline",
        transforms: PositiveInt = 8,
        width: PositiveInt = 64,
        steps: PositiveInt = 780,
        batch: PositiveInt = 256,
        lr: PositiveFloat = 1e-3,
        decay: bool = True,
        bins: PositiveInt = 8,
        bound: PositiveFloat = 10.0,
        ema: Fraction = 0.0,
        warm_start: bool = False,
    ) -> None:
        if ema == 1:
            raise ValueError(
                "ema=1.0 would never learn; allowed: 0 (off) up to just below 1, such as 0.99"
            )
        self.coupling, self.transforms, self.width, self.bins, self.bound = (
            coupling,
            transforms,
            width,
            bins,
            bound,
        )
        self.steps, self.batch, self.lr, self.decay = steps, batch, lr, decay
        self.ema, self.warm_start = ema, warm_start
        self.model_: PointFlow | None = None
        self.config_: JsonObject = {}

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        """The reported loss is the negative log likelihood in nats."""
        x = data.x.astype(np.float32)  # [n, replicates, d]
        refuse_non_finite_data([x])
        if not x.std(0).any():
            raise Finding(
                "constant", "all training points are equal: their likelihood has no maximum"
            )
        config = self._config(*x.shape[1:])
        with seeded(rng):
            fresh = PointFlow(**config)
        if self.model_ is None or not self.warm_start or config != self.config_:
            self.model_ = fresh
        self.config_ = config
        self.model_.standardise.learn(x)
        how = Training(
            steps=self.steps,
            batch=self.batch,
            replicates=x.shape[1],
            ema=self.ema,
            decay=self.decay,
        )
        return train([Turn(self.model_, self._loss, lr=self.lr)], [x], rng, how)

    def _config(self, replicates: int, d: int) -> JsonObject:
        bins = self.bins if self.coupling == "spline" else 0
        return dict(
            replicates=replicates,
            d=d,
            transforms=self.transforms,
            width=self.width,
            bins=bins,
            bound=self.bound,
        )

    def _loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        assert self.model_ is not None
        return -self.model_.log_density(batch[0].transpose(0, 1)).mean(1)  # [replicates]

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """bias multiplies the base's variance, as MAD's lambda does a Gaussian's."""
        z = rng.standard_normal(
            (n, self.config_["replicates"], self.config_["d"]), dtype=np.float32
        )
        z *= np.float32(1 if bias is None else math.sqrt(bias))
        x = self._mapped("decode", z)
        if not np.isfinite(x).all():
            raise Finding("diverged", "the flow's inverse gives points that are not finite")
        return Samples(x)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Of points [n, replicates, d]: [n, replicates], in float32."""
        return self._mapped("log_density", x.astype(np.float32)).astype(float)

    def _mapped(self, how: Literal["decode", "log_density"], x: np.ndarray) -> np.ndarray:
        """The model's method applied to points [n, replicates, d] in pieces: [n, replicates,
        ...].
        """
        assert self.model_ is not None, "fit or load comes first"
        pieces = tensor(x.swapaxes(0, 1), device()).split(BATCH_OUT, dim=1)
        with torch.inference_mode():
            out = torch.cat([getattr(self.model_, how)(piece) for piece in pieces], dim=1)
        return out.transpose(0, 1).contiguous().cpu().numpy()

    def save(self, folder: Path) -> None:
        assert self.model_ is not None, "fit or load comes first"
        save_weights(self.model_, folder, self.config_)

    def load(self, folder: Path) -> None:
        self.model_, self.config_ = load_weights(folder, lambda config: PointFlow(**config))
