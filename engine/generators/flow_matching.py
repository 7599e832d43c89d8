"""Conditional flow matching (Lipman et al. 2210.02747): a velocity field that carries a normal
distribution to the data.

A sample x_1 and a normal x_0 are joined by a straight line; the network learns the line's velocity
x_1 - x_0 at x_t = (1 - t) x_0 + t x_1.  Not a normalizing flow (that is `flow`): no likelihood is
computed, none is trained.

Points are learnt by MLPs, one per replicate and all at once; images by the U-Net of `ddpm`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from engine.files import JsonObject
from engine.generators import _unet
from engine.generators._labels import label_counts, labels_for, same_networks
from engine.parts import Fraction, NonNegativeInt, OnDisk, PositiveFloat, PositiveInt
from engine.samples import Samples
from engine.training.device import device, seeded, tensor
from engine.training.loop import Training, Turn, refuse_non_finite_data, train
from engine.training.progress import pieces
from engine.training.stacked import Standardise, stacked_mlp
from engine.training.weights import load_weights, save_weights

BATCH_OUT = 256  # images drawn at a time; points are drawn at once
POINTS = _unet.Size((64, 64, 64), 1, (), 0.0, 1000, 256, 5e-3, 0.99)
UNET_TIME = 1000.0  # the U-Net's clock goes so far, as in ddpm
LABEL_LENGTH = 3.0  # of a one-hot label beside standardised points
Velocity = Callable[[Tensor, float], Tensor]  # (x_t, t) -> dx / dt


class PointNet(nn.Module):
    """One MLP per replicate: standardised points [replicates, b, d], their times and labels ->
    velocities.
    """

    def __init__(self, config: JsonObject) -> None:
        super().__init__()
        replicates, d = config["shape"]
        self.config, self.classes = config, len(config["label_counts"])
        self.standardise = Standardise(replicates, d)
        self.layers = stacked_mlp(
            replicates, (d + 1 + self.classes, *config["channels"], d), nn.SiLU
        )

    @property
    def module(self) -> nn.Module:
        return self

    def encode(
        self, batch: tuple[Tensor, ...], noise: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """[b, replicates, d] and labels [b] or [b, replicates] -> [replicates, b, d] and
        [replicates, b].
        """
        x = self.standardise(batch[0].transpose(0, 1))
        return x, None if not self.classes else batch[1].T.expand(x.shape[:2])

    def predict(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        beside = (
            [] if y is None else [LABEL_LENGTH * functional.one_hot(y, self.classes).to(x.dtype)]
        )
        out: Tensor = self.layers(torch.cat([x, t[..., None], *beside], dim=-1)).float()
        return out


Net = _unet.ImageUnet | PointNet


class FlowMatching:
    """Points [n, replicates, d] or images [n, h, w, c].

    size            preset of the numbers below that are None: tiny (MNIST in minutes of one core),
                    32 (Ho et al. for CIFAR-10) or 64, named by the pixels of a side; points have a
                    preset of their own.
    channels        of the U-Net at each level, from full resolution down; None: [16, 32, 64]
                    (tiny), [128, 256, 256, 256] (32, 64); of points the hidden units of each layer,
                    [64, 64, 64].
    layers          residual blocks per level of the U-Net; None: 1 (tiny), 2 (32), 3 (64).
    attention       levels of the U-Net with self-attention, 0 being full resolution; None: [2]
                    (tiny), [1] (32), [2, 3] (64).
    dropout         share of the U-Net's activations dropped in training, below 1; None: 0 (tiny),
                    0.1 (32, 64).
    steps           optimiser steps of a fit; None: 1500 (tiny), 50,000 (32, 64), 1000 (points).
    batch           samples per step; None: 32 (tiny), 128 (32), 64 (64), 256 (points).
    lr              Adam's learning rate; None: 2e-3 (tiny), 2e-4 (32, 64), 5e-3 (points).
    ema             decay per step of the average of the weights, which is what is kept, below 1; 0:
                    the last weights; None: 0.99 (tiny), 0.9995 (32, 64), 0.99 (points).
    warmup          steps over which the learning rate rises from nothing; None: 0 (tiny), 500 (32,
                    64), 0 (points).
    conditional     learn and draw by class label, where the data have labels; false: labels are not
                    looked at.
    label_dropout   share of training images without their label, below 1: what guidance (sampling
                    `biased`) needs above 0.
    coupling        which x_0 belongs to which x_1: independent, or minibatch_ot, the optimal
                    transport plan of each minibatch (Tong et al. 2302.00482), with labels within
                    classes, since a plan across them would teach that the class is a function of
                    x_0.
    solver          of the velocity's ODE: euler (one evaluation of the network per step), or heun
                    or midpoint (two, and second order).
    sampling_steps  steps of the solver; more are finer.
    base            of images: folder of a UNet2DModel of diffusers, as save_pretrained writes it:
                    training begins from its weights; None: new ones.
    warm_start      go on from the network of the generation before, where it is of the same shape,
                    instead of from new weights.
    warm_steps      optimiser steps of a fit that goes on so; None: `steps` (Bertrand: fewer).
    precision       number format of training and drawing: no (float32), tf32, bf16 or fp16, each
                    faster on a GPU and coarser.
    channels_last   the memory order of images that a GPU's convolutions like.
    compile         train through torch.compile: slow to start, then faster.
    """

    ACCEPTS = ("points", "images")
    CONDITIONAL = "conditional"
    CONTINUES = "warm_start"
    DRAWING = ("solver", "sampling_steps")
    # of data 0.1 to 1 wide, the ratio furthest from 1
    COARSE = (
        "solver",
        "sampling_steps",
        {
            "euler": {2: 0.08, 3: 0.28, 5: 0.45, 10: 0.67, 20: 0.82, 50: 0.92, 100: 0.96},
            "heun": {2: 2.75, 3: 1.88, 4: 1.65, 5: 1.4, 6: 1.26, 8: 1.15, 10: 1.09},
            "midpoint": {2: 0.62, 3: 0.89, 4: 0.91},
        },
    )
    COST = "large"
    TINY = {"steps": 4, "batch": 16, "channels": [8, 16], "attention": [], "sampling_steps": 2}

    def __init__(
        self,
        *,
        size: Literal["tiny", "32", "64"] = "tiny",
        channels: list[PositiveInt] | None = None,
        layers: PositiveInt | None = None,
        attention: list[NonNegativeInt] | None = None,
        dropout: Fraction | None = None,
        steps: PositiveInt | None = None,
        batch: PositiveInt | None = None,
        lr: PositiveFloat | None = None,
        ema: Fraction | None = None,
        warmup: NonNegativeInt | None = None,
        conditional: bool = True,
        label_dropout: Fraction = 0.1,
        coupling: Literal["independent", "minibatch_ot"] = "independent",
        solver: Literal["euler", "heun", "midpoint"] = "midpoint",
        sampling_steps: PositiveInt = 10,
        base: OnDisk | None = None,
        warm_start: bool = False,
        warm_steps: PositiveInt | None = None,
        precision: Literal["no", "tf32", "bf16", "fp16"] = "no",
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        self.own = dict(channels=channels, layers=layers, attention=attention, dropout=dropout)
        self.own |= dict(steps=steps, batch=batch, lr=lr, ema=ema, warmup=warmup)
        if ema == 1 or dropout == 1 or label_dropout == 1:
            raise ValueError(
                "ema, dropout and label_dropout of 1 would never learn; allowed: 0 (off) up to "
                "just below 1"
            )
        self.image_size, self.label_dropout, self.coupling = (
            _unet.SIZES[size],
            label_dropout,
            coupling,
        )
        _unet.refuse_own(base, channels=channels, layers=layers, attention=attention)
        self.base = base
        self.solver, self.sampling_steps = solver, sampling_steps
        self.warm_start, self.warm_steps = warm_start, warm_steps
        self.fast = dict(precision=precision, channels_last=channels_last, compile=compile)
        self.conditional = conditional
        self.net_: _unet.ImageUnet | PointNet | None = None

    # ---- training ----

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        images, y = data.x.ndim == 4, data.y if self.conditional else None
        x = data.x if images else data.x.astype(np.float32)
        refuse_non_finite_data([x])
        size = _unet.with_own(self.image_size if images else POINTS, **self.own)
        with seeded(rng):
            fresh = self._fresh(x, label_counts(y, data), size)
        if (
            self.warm_start
            and self.net_ is not None
            and same_networks(self.net_.config, fresh.config)
        ):
            fresh.module.load_state_dict(self.net_.module.state_dict())
            size = replace(size, steps=self.warm_steps or size.steps)
        if isinstance(fresh, PointNet):
            fresh.standardise.learn(x)
        self.net_ = fresh
        turn = Turn(fresh.module, self._loss, lr=size.lr)
        return train(
            [turn],
            [x] if y is None else [x, y],
            rng,
            self._how(size, None if images else x.shape[1]),
        )

    def _fresh(self, x: np.ndarray, counts: list[int], size: _unet.Size) -> Net:
        """A network before its first training."""
        if x.ndim == 4 and self.base is not None:
            return _unet.ImageUnet.based(self.base, x, counts, size, self.label_dropout)
        if self.base is not None:
            raise ValueError("flow_matching: base is a network of images; leave it out for points")
        if x.ndim == 4:
            return _unet.ImageUnet.new(x, counts, size, self.label_dropout)
        return _point_net(x, counts, size)

    def _how(self, size: _unet.Size, replicates: int | None) -> Training:
        how: dict[str, Any] = dict(ema=size.ema, warmup=size.warmup, **self.fast)
        clip = (
            1.0 if replicates is None else 0.0
        )  # one norm for all replicates would tie them together
        return Training(
            steps=size.steps, batch=size.batch, replicates=replicates, clip_norm=clip, **how
        )

    def _loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        """Mean squared error of the velocity: [], or [replicates]."""
        assert self.net_ is not None
        x_1, y = self.net_.encode(
            batch, noise
        )  # [b, c, height, width] and [b], or [replicates, b, d] and [replicates, b]
        x_0 = torch.empty_like(x_1).normal_(generator=noise)
        points = isinstance(self.net_, PointNet)
        if self.coupling == "minibatch_ot":
            x_0 = (
                paired(x_0, x_1, y)
                if points
                else paired(x_0[None], x_1[None], None if y is None else y[None])[0]
            )
        shape = x_1.shape[:2] if points else x_1.shape[:1]
        t = _unet.even_times(shape, noise, x_1.device)
        x_t = torch.lerp(x_0, x_1, t.view(*shape, *[1] * (x_1.ndim - len(shape))))
        error = self.net_.predict(x_t, t if points else UNET_TIME * t, y) - (x_1 - x_0)
        return error.square().mean((1, 2) if points else None)

    # ---- sampling ----

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """bias: for images MAD's, guidance of weight 1/bias - 1; for points the latents' scale
        (truncation); 1 is honest.
        """
        assert self.net_ is not None, "fit or load comes first"
        y = labels_for(n, labels, self.net_.config["label_counts"])
        how = self._how(self.image_size, None)
        if isinstance(self.net_, PointNet):
            with _unet.sampling(self.net_, how):
                return Samples(self._points(self.net_, n, rng, y, 1.0 if bias is None else bias), y)
        weight = self.net_.weight(bias)
        latents = rng.standard_normal((n, *self.net_.latent_shape), dtype=np.float32)
        with _unet.sampling(self.net_, how):
            drawn = [
                self._images(self.net_, latents[c], None if y is None else y[c], weight)
                for c in pieces(n, BATCH_OUT)
            ]
        return Samples(np.concatenate(drawn), y)

    def _points(
        self, net: PointNet, n: int, rng: np.random.Generator, y: np.ndarray | None, scale: float
    ) -> np.ndarray:
        """float32 [n, replicates, d]."""
        x = tensor(
            rng.standard_normal((n, *net.config["shape"]), dtype=np.float32) * np.float32(scale),
            device(),
        )
        x = x.transpose(0, 1)
        labels = None if y is None else tensor(y, device()).expand(x.shape[:2])
        x = integrate(
            lambda x, t: net.predict(x, x.new_full(x.shape[:2], t), labels),
            x,
            self.solver,
            self.sampling_steps,
        )
        return net.standardise.inverse(x).transpose(0, 1).contiguous().cpu().numpy()

    def _images(
        self, net: _unet.ImageUnet, latents: np.ndarray, y: np.ndarray | None, weight: float
    ) -> np.ndarray:
        labels = None if y is None else tensor(y, device())

        def velocity(x: Tensor, t: float) -> Tensor:
            return net.predict(x, x.new_full((len(x),), UNET_TIME * t), labels, weight)

        return net.decode(
            integrate(velocity, tensor(latents, device()), self.solver, self.sampling_steps)
        )

    # ---- files ----

    def save(self, folder: Path) -> None:
        """Of images unet/ as diffusers keeps it (`UNet2DModel.from_pretrained`), its time going
        from 0, noise, to 1000.
        """
        assert self.net_ is not None, "fit or load comes first"
        if isinstance(self.net_, PointNet):
            save_weights(self.net_, folder, self.net_.config)
        else:
            self.net_.save(folder)

    def load(self, folder: Path) -> None:
        if (folder / "unet").is_dir():
            self.net_ = _unet.ImageUnet.load(folder, self.label_dropout)
        else:
            self.net_ = load_weights(folder, PointNet)[0]


def _point_net(x: np.ndarray, counts: list[int], size: _unet.Size) -> PointNet:
    return PointNet(
        {
            "shape": list(x.shape[1:]),
            "label_counts": counts,
            "channels": list(size.channels),
        }
    )


def paired(x_0: Tensor, x_1: Tensor, y: Tensor | None) -> Tensor:
    """x_0 in the order that matches it to x_1 at the least sum of squared distances, within
    classes: [replicates, b, ...].

    Each x_0 first gets the class of the x_1 it lies beside, so that within every class it stays
    normal.  Exact, on the CPU.
    """
    cost = torch.cdist(
        x_1.flatten(2).float(), x_0.flatten(2).float()
    ).square()  # [replicates, b, b]
    if y is not None:
        dear = cost.shape[-1] * cost.amax() + 1  # one such pair costs more than any plan without
        cost = cost + dear * (y[:, :, None] != y[:, None, :])
    plans = [torch.from_numpy(linear_sum_assignment(c)[1]) for c in cost.double().cpu().numpy()]
    order = torch.stack(plans).to(x_0.device)  # [replicates, b]
    return x_0[torch.arange(len(x_0), device=x_0.device)[:, None], order]


def integrate(velocity: Velocity, x: Tensor, solver: str, steps: int) -> Tensor:
    """From x at time 0 to time 1, in steps that shrink towards the data, where the field is stiff:
    t = 1 - (1 - k/steps)^2.

    Ten midpoint steps of even length narrow a Gaussian of a fiftieth of the noise's width by a
    half, these by 3 %, and one of a tenth or more by less than 1 %.  Of the deviation of data 1,
    0.1 and 0.02 wide, twenty steps of Euler leave 0.92, 0.90 and 0.82, ten of Heun 1.01, 1.05 and
    1.21, all with an exact velocity.
    """
    times = 1 - (1 - np.arange(steps + 1) / steps) ** 2
    for t, later in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        h, v = later - t, velocity(x, t)
        if solver == "heun":
            v = 0.5 * (v + velocity(x + h * v, later))
        elif solver == "midpoint":
            v = velocity(x + 0.5 * h * v, t + 0.5 * h)
        x = x + h * v
    return x
