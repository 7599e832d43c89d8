"""Denoising diffusion (DDPM, Ho et al. 2006.11239) for images, conditional on labels by
classifier-free guidance (2207.12598).

Training is the paper's, whatever the sampler; the sampler is part of the model whose iteration is
studied, so the constructor names it.  All of them step through times evenly spaced in the logarithm
of the signal-to-noise ratio: diffusers' usual even spacing in time, with 20 steps of DPM-Solver++
and Ho's linear schedule, narrows a Gaussian of deviation 0.1 (pixels are -1 to 1) by half, which a
chain of generations would take for collapse.  What these leave of the deviation with an exact
denoiser (cosine schedule, data of deviation 1, 0.1 and 0.02):

    ddpm          20 steps   0.78  0.78  0.76      100 steps   0.95  0.95  0.89
    ddim          20 steps   0.88  0.87  0.84      100 steps   0.98  0.97  0.92
    dpm-solver++  20 steps   1.02  1.01  0.95       10 steps   1.04  1.01  0.89
    unipc         20 steps   1.01  1.01  0.96       10 steps   1.05  1.04  0.92

At 0.02 more steps do not help (dpm-solver++: 0.96 at 1,000; 0.90 with the linear schedule): the
noise of the first time is as large as the data.

After 1,000 steps of the tiny network a real classifier reads 85 % of its MNIST digits rightly,
where it predicts velocities under the cosine schedule; 50 % where it predicts noise under Ho's
linear one.  Hence the defaults.

`diffusers.DDPMPipeline.from_pretrained(folder)` opens a saved model; where it is conditional,
`engine.pipelines` draws from it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from engine.generators import _unet
from engine.generators._guidance import Solver, guided
from engine.generators._labels import label_counts, labels_for, same_networks
from engine.generators._noise import BATCH_OUT, integrate, schedule_of, signal_shares
from engine.generators._pretrained import place_of, require_noise
from engine.parts import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    OnDisk,
    PositiveFloat,
    PositiveInt,
)
from engine.samples import Samples
from engine.training.device import device, seeded, tensor, torch_generator
from engine.training.loop import Training, Turn, train
from engine.training.progress import pieces

from diffusers import DDPMScheduler, __version__  # isort: skip

KINDS = {"epsilon": "epsilon", "v": "v_prediction"}  # as diffusers calls predictions


class Ddpm:
    """Images [n, h, w, c], uint8.

    size            preset of the numbers below that are None: tiny (MNIST in minutes of one core),
                    32 (Ho et al. for CIFAR-10) or 64, named by the pixels of a side.
    channels        of the U-Net at each level, from full resolution down; None: [16, 32, 64]
                    (tiny), [128, 256, 256, 256] (32, 64).
    layers          residual blocks per level of the U-Net; None: 1 (tiny), 2 (32), 3 (64).
    attention       levels of the U-Net with self-attention, 0 being full resolution; None: [2]
                    (tiny), [1] (32), [2, 3] (64).
    dropout         share of the U-Net's activations dropped in training, below 1; None: 0 (tiny),
                    0.1 (32, 64).
    steps           optimiser steps of a fit; None: 1500 (tiny), 50,000 (32, 64).
    batch           images per step; None: 32 (tiny), 128 (32), 64 (64).
    lr              Adam's learning rate; None: 2e-3 (tiny), 2e-4 (32, 64).
    ema             decay per step of the average of the weights, which is what is kept, below 1; 0:
                    the last weights; None: 0.99 (tiny), 0.9995 (32, 64).
    warmup          steps over which the learning rate rises from nothing; None: 0 (tiny), 500 (32,
                    64).
    conditional     learn and draw by class label, where the data have labels; false: labels are not
                    looked at.
    label_dropout   share of training images without their label, below 1: what guidance (sampling
                    `biased`) needs above 0.
    prediction      what the network predicts: the noise (epsilon, Ho), or the velocity of
                    2202.00512 (v).
    schedule        of the noise in training: linear (Ho) or cosine (2102.09672).
    timesteps       steps of the noise in training, at least 50 (Ho: 1000; MAD on MNIST: 500).
    sampler         how images are drawn: ddpm is ancestral sampling, ddim (Song et al. 2010.02502)
                    its deterministic limit, dpm-solver++ (2211.01095) and unipc (2302.04867) are
                    multistep solvers of the same ODE.
    sampling_steps  steps of the sampler, at most `timesteps`: one evaluation of the network each,
                    two under guidance; more are finer.
    guidance_by     what pulls a draw towards its class beside the network's own labels: none, or
                    solver, a classifier that the fit trains on its data too (DDGR); needs labels.
    guidance        scale of the solver's gradient, for which a draw takes about three times as
                    long; 0: none.
    solver          network of the solver: lenet or resnet18.
    solver_steps    training steps of the solver.
    base            folder of a DDPMPipeline or UNet2DModel of diffusers, as save_pretrained writes
                    it: training begins from its weights; None: new ones.
    warm_start      go on from the network of the generation before, where it is of the same shape,
                    instead of from new weights.
    warm_steps      optimiser steps of a fit that goes on so; None: `steps` (Bertrand: fewer).
    precision       number format of training and drawing: no (float32), tf32, bf16 or fp16, each
                    faster on a GPU and coarser.
    channels_last   the memory order of images that a GPU's convolutions like.
    compile         train through torch.compile: slow to start, then faster.
    """

    ACCEPTS = ("images",)
    CONDITIONAL = "conditional"
    CONTINUES = "warm_start"
    DRAWING = ("sampler", "sampling_steps", "guidance")
    NEEDS = {"data.labels": {"guidance_by": ("solver",)}}
    # of data 0.1 to 1 wide, under the cosine schedule: the ratio furthest from 1
    COARSE = (
        "sampler",
        "sampling_steps",
        {
            "ddpm": {3: 0.01, 5: 0.16, 7: 0.27, 10: 0.39, 20: 0.61, 50: 0.82, 100: 0.9},
            "ddim": {3: 0.03, 5: 0.26, 7: 0.42, 10: 0.57, 20: 0.76, 50: 0.9, 100: 0.95},
            "dpm-solver++": {3: 0.04, 4: 0.3, 5: 0.56, 6: 0.71, 7: 0.86, 8: 0.95},
            "unipc": {3: 0.04, 4: 0.31, 5: 0.6, 6: 0.76, 7: 1.11, 9: 1.13, 10: 1.11, 12: 1.09},
        },
    )
    COST = "large"
    TINY = {"steps": 4, "batch": 16, "channels": [8, 16], "attention": [], "sampling_steps": 3}

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
        prediction: Literal["epsilon", "v"] = "v",
        schedule: Literal["linear", "cosine"] = "cosine",
        timesteps: PositiveInt = 1000,
        sampler: Literal["ddpm", "ddim", "dpm-solver++", "unipc"] = "dpm-solver++",
        sampling_steps: PositiveInt = 20,
        guidance_by: Literal["none", "solver"] = "none",
        guidance: NonNegativeFloat = 1.0,
        solver: Literal["lenet", "resnet18"] = "lenet",
        solver_steps: PositiveInt = 400,
        base: OnDisk | None = None,
        warm_start: bool = False,
        warm_steps: PositiveInt | None = None,
        precision: Literal["no", "tf32", "bf16", "fp16"] = "no",
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        network = dict(channels=channels, layers=layers, attention=attention, dropout=dropout)
        self.size = _unet.with_own(
            _unet.SIZES[size], **network, steps=steps, batch=batch, lr=lr, ema=ema, warmup=warmup
        )
        if self.size.ema == 1 or self.size.dropout == 1 or label_dropout == 1:
            raise ValueError(
                "ema, dropout and label_dropout of 1 would never learn; allowed: 0 (off) up to "
                "just below 1"
            )
        if timesteps < 50:
            raise ValueError(
                f"timesteps={timesteps} are too few for the noise schedule; at least 50 "
                "(sampling_steps may be less)"
            )
        if sampling_steps > timesteps:
            raise ValueError(
                f"sampling_steps={sampling_steps} cannot be more than the timesteps of "
                f"training, {timesteps}"
            )
        self.label_dropout, self.prediction, self.schedule, self.timesteps = (
            label_dropout,
            prediction,
            schedule,
            timesteps,
        )
        self.sampler, self.sampling_steps = sampler, sampling_steps
        own = {"guidance": guidance != 1, "solver": solver != "lenet"}
        own["solver_steps"] = solver_steps != 400
        if guidance_by == "none" and (given := [name for name, changed in own.items() if changed]):
            raise ValueError(f"{', '.join(given)} without guidance_by: solver would change nothing")
        if guidance_by == "solver" and not conditional:
            raise ValueError(
                "guidance_by: solver pulls draws towards their class, and with conditional: false "
                "they have none; leave conditional at true"
            )
        self.guided, self.guidance = guidance_by == "solver", guidance
        self.solver, self.solver_steps = solver, solver_steps
        _unet.refuse_own(base, channels=channels, layers=layers, attention=attention)
        self.base = base
        self.warm_start, self.warm_steps = warm_start, warm_steps or self.size.steps
        self.conditional = conditional
        self.how = Training(
            steps=self.size.steps,
            batch=self.size.batch,
            ema=self.size.ema,
            clip_norm=1.0,
            warmup=self.size.warmup,
            precision=precision,
            channels_last=channels_last,
            compile=compile,
        )
        self.signal = signal_shares(timesteps, schedule)  # [timesteps]
        self.net_: _unet.ImageUnet | None = None
        self.solver_: Solver | None = None

    # ---- training ----

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        y = data.y if self.conditional else None
        if self.guided and y is None:
            raise ValueError("guidance_by: solver needs class labels, and the data have none")
        with seeded(rng):
            fresh = self._fresh(data.x, label_counts(y, data))
        how = self.how
        if (
            self.warm_start
            and self.net_ is not None
            and same_networks(self.net_.config, fresh.config)
        ):
            fresh.module, how = self.net_.module, replace(how, steps=self.warm_steps)
        self.net_ = fresh
        loss = partial(self._loss, tensor(self.signal.astype(np.float32), device()))
        turn = Turn(fresh.module, loss, lr=self.size.lr)
        report = train([turn], [data.x] if y is None else [data.x, y], rng, how)
        if self.guided:
            classes = len(fresh.config["label_counts"])
            self.solver_ = Solver.fit(data, classes, rng, self.solver, self.solver_steps)
        return report

    def _fresh(self, x: np.ndarray, counts: list[int]) -> _unet.ImageUnet:
        """A network before its first training."""
        if self.base is None:
            return _unet.ImageUnet.new(x, counts, self.size, self.label_dropout)
        noise = schedule_of(self.timesteps, self.schedule) | {
            "prediction_type": KINDS[self.prediction]
        }
        require_noise(place_of(self.base), noise)
        return _unet.ImageUnet.based(self.base, x, counts, self.size, self.label_dropout)

    def _loss(self, signal: Tensor, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        """Mean squared error of the predicted noise or velocity at even times: the paper's
        L_simple.
        """
        assert self.net_ is not None
        x, y = self.net_.encode(batch, noise)  # [b, c, height, width], [b]
        t = (_unet.even_times(x.shape[:1], noise, x.device) * self.timesteps).long()  # [b]
        epsilon = torch.empty_like(x).normal_(generator=noise)
        a = signal[t].view(-1, 1, 1, 1)
        x_t = a.sqrt() * x + (1 - a).sqrt() * epsilon
        target = (
            epsilon if self.prediction == "epsilon" else a.sqrt() * epsilon - (1 - a).sqrt() * x
        )
        return (self.net_.predict(x_t, t, y) - target).square().mean()

    # ---- sampling ----

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """bias is MAD's: guidance of weight w = 1/bias - 1, so 1 is honest.

        The i-th image depends on rng only.
        """
        assert self.net_ is not None, "fit or load comes first"
        weight, y = self.net_.weight(bias), labels_for(n, labels, self.net_.config["label_counts"])
        noise = torch_generator(rng, device())
        latents = rng.standard_normal((n, *self.net_.latent_shape), dtype=np.float32)
        with _unet.sampling(self.net_, self.how, self.guided and self.guidance > 0):
            drawn = [
                self._draw(latents[c], None if y is None else y[c], weight, noise)
                for c in pieces(n, BATCH_OUT)
            ]
        return Samples(np.concatenate(drawn), y)

    def _draw(
        self, latents: np.ndarray, y: np.ndarray | None, weight: float, noise: torch.Generator
    ) -> np.ndarray:
        on, net, solver = device(), self.net_, self.solver_
        assert net is not None
        labels = None if y is None else tensor(y, on)

        def denoiser(x: Tensor, t: int) -> Tensor:
            at = torch.full((len(x),), t, device=on)

            def clean(x: Tensor) -> Tensor:
                return self.clean(x, net.predict(x, at, labels, weight), t)

            if solver is None or labels is None or not self.guidance:
                return clean(x).clamp(-1, 1)
            a = float(self.signal[t])
            says = partial(_log_p, net, solver, labels)
            return guided(clean, x, says, a, self.guidance).clamp(-1, 1)

        return net.decode(
            integrate(
                denoiser,
                tensor(latents, on),
                self.sampler,
                self.sampling_steps,
                self.signal,
                noise,
            )
        )

    def clean(self, x: Tensor, predicted: Tensor, t: int) -> Tensor:
        """The expected x_0 given x_t, from the predicted noise or velocity."""
        a = self.signal[t]
        if self.prediction == "epsilon":
            out: Tensor = (x - (1 - a) ** 0.5 * predicted) / a**0.5
            return out
        out = a**0.5 * x - (1 - a) ** 0.5 * predicted
        return out

    # ---- files ----

    def save(self, folder: Path) -> None:
        """A diffusers pipeline: unet/, scheduler/ and model_index.json; config.json holds what is
        ours.
        """
        assert self.net_ is not None, "fit or load comes first"
        self.net_.save(folder)
        betas, kind = schedule_of(self.timesteps, self.schedule), KINDS[self.prediction]
        scheduler: Any = DDPMScheduler(**betas, prediction_type=kind)
        scheduler.save_pretrained(folder / "scheduler")
        parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
        index = {"_class_name": "DDPMPipeline", "_diffusers_version": __version__, **parts}
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        if self.solver_ is not None:
            self.solver_.save(folder)

    def load(self, folder: Path) -> None:
        self.net_ = _unet.ImageUnet.load(folder, self.label_dropout)
        self.solver_ = Solver.load(folder) if self.guided else None


def _log_p(net: _unet.ImageUnet, solver: Solver, labels: Tensor, x_0: Tensor) -> Tensor:
    return solver.log_p(net.inside(x_0), labels)
