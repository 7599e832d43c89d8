"""Wasserstein GAN for points and images, with gradient penalty (Gulrajani 1704.00028) or clipped
weights (Arjovsky 1701.07875).

Points: the toy of Zverev 2512.11867 (a mixture of five Gaussians); both networks are MLPs, stacked
over replicates: a batched product trains all of them, each on minibatches and noise of its own.
Images: convolutions in the manner of DCGAN.  Labels are ignored unless `conditional`.  Adam
throughout, where the clipping paper used RMSProp.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.files import JsonObject
from engine.generators._dcgan import DcganCritic, DcganGenerator
from engine.generators._labels import label_counts, labels_for, same_networks
from engine.parts import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from engine.samples import Samples
from engine.training.device import device, seeded, tensor
from engine.training.loop import Training, Turn, refuse_non_finite_data, train
from engine.training.progress import pieces
from engine.training.stacked import Standardise, stacked_mlp
from engine.training.weights import load_weights, save_weights

BATCH_OUT = 1024  # images drawn at a time
POINTS: dict[str, Any] = {"lr": 1e-3, "width": 64, "latent": 2, "penalty_weight": 1.0, "clip": 0.1}
IMAGES: dict[str, Any] = {
    "lr": 5e-4,
    "width": 32,
    "latent": 64,
    "penalty_weight": 10.0,
    "clip": 0.03,
}


class PointGan(nn.Module):
    """Generator [replicates, b, latent] -> [replicates, b, d] and critic -> [replicates, b, 1], in
    standardised coordinates.
    """

    SAMPLES, COORDINATES = 1, (-1,)  # axes of the samples, and of the coordinates of one
    ONE = (..., slice(0, 1))  # one coordinate of each

    def __init__(
        self,
        replicates: int,
        d: int,
        latent: int,
        width: int,
        layers: int,
        label_counts: Sequence[int] = (),
    ) -> None:
        super().__init__()
        hidden, self.classes = [width] * layers, len(label_counts)
        self.replicates, self.latent = replicates, latent
        self.standardise = Standardise(replicates, d)
        self.generator = stacked_mlp(replicates, (latent + self.classes, *hidden, d), nn.ReLU)
        self.critic = stacked_mlp(replicates, (d + self.classes, *hidden, 1), nn.ReLU)

    def read(self, x: Tensor) -> Tensor:
        out: Tensor = self.standardise(x.transpose(0, 1))  # [replicates, b, d]
        return out

    def write(self, x: Tensor) -> Tensor:
        return self.standardise.inverse(x).transpose(0, 1).contiguous()  # [b, replicates, d]

    def normals(self, n: int, noise: torch.Generator) -> Tensor:
        return torch.empty(self.replicates, n, self.latent, device=noise.device).normal_(
            generator=noise
        )

    def fake(self, z: Tensor, y: Tensor | None) -> Tensor:
        out: Tensor = self.generator(self._beside(z, y))
        return out

    def value(self, x: Tensor, y: Tensor | None) -> Tensor:
        out: Tensor = self.critic(self._beside(x, y)).squeeze(-1)  # [replicates, b]
        return out

    def _beside(self, x: Tensor, y: Tensor | None) -> Tensor:
        """x [replicates, b, ...] with its labels y, [b] or [b, replicates],
        as further coordinates.
        """
        if y is None:
            return x
        across = y.T if y.ndim == 2 else y.expand(self.replicates, -1)
        return torch.cat([x, functional.one_hot(across, self.classes).to(x.dtype)], dim=-1)


class ImageGan(nn.Module):
    """The same of images [b, channels, height, width] in [-1, 1]; latents are [b, latent], values
    [b].
    """

    SAMPLES, COORDINATES = 0, (1, 2, 3)
    ONE = (slice(None), slice(0, 1), slice(0, 1), slice(0, 1))

    def __init__(self, shape: list[int], latent: int, width: int, label_counts: list[int]) -> None:
        super().__init__()
        self.latent = latent
        self.generator = DcganGenerator(shape, len(label_counts), latent, width)
        self.critic = DcganCritic(shape, len(label_counts), width)

    def read(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2).float() / 127.5 - 1

    def write(self, x: Tensor) -> Tensor:
        return ((x.float().permute(0, 2, 3, 1) + 1) * 127.5).round().to(torch.uint8)

    def normals(self, n: int, noise: torch.Generator) -> Tensor:
        return torch.empty(n, self.latent, device=noise.device).normal_(generator=noise)

    def fake(self, z: Tensor, y: Tensor | None) -> Tensor:
        out: Tensor = self.generator(z, y)
        return out

    def value(self, x: Tensor, y: Tensor | None) -> Tensor:
        out: Tensor = self.critic(x, y).squeeze(-1).float()
        return out


class Wgan:
    """Points [n, replicates, d] float32, or images uint8 [n, height, width, channels] of any size.

    steps           updates of the generator in a fit.
    critic_steps    updates of the critic before each of them.
    batch           samples per update, each of the critic's on a minibatch of its own.
    lr              Adam's learning rate for both networks; None: 1e-3 for points, 5e-4 for images.
    betas           Adam's two decays of its running means, each below 1.
    width           hidden units of an MLP, or channels at half an image's resolution, doubled at
                    each halving; None: 64 for points, 32 for images.
    layers          hidden layers of the MLPs; images do not look at it.
    latent          number of latent variables; None: 2 for points, 64 for images.
    penalty         what keeps the critic's slope at about 1: gradient (a penalty on its norm), or
                    clip (its weights are cut after every update).
    penalty_weight  of the gradient penalty, the paper's lambda; None: 1 for points, 10 for images.
    clip            largest absolute weight of a clipped critic; None: 0.1 for points, 0.03 for
                    images.
    ema             decay per step of the average of the weights, which is what is kept, below 1; 0:
                    the last weights.
    conditional     learn and draw by class label, where the data have labels; false: labels are not
                    looked at.
    warm_start      go on from the networks of the generation before, where they are of the same
                    shape, instead of from new weights.
    precision       number format of training: no (float32), tf32 or bf16, each faster on a GPU and
                    coarser.
    """

    ACCEPTS = ("points", "images")
    CONDITIONAL = "conditional"
    CONTINUES = "warm_start"
    COST = "small"
    TINY = {"steps": 10, "width": 8, "batch": 16, "critic_steps": 2, "conditional": True}

    def __init__(
        self,
        *,
        steps: PositiveInt = 1000,
        critic_steps: PositiveInt = 5,
        batch: PositiveInt = 64,
        lr: PositiveFloat | None = None,
        betas: tuple[Fraction, Fraction] = (0.0, 0.9),
        width: PositiveInt | None = None,
        layers: PositiveInt = 2,
        latent: PositiveInt | None = None,
        penalty: Literal["gradient", "clip"] = "gradient",
        penalty_weight: NonNegativeFloat | None = None,
        clip: PositiveFloat | None = None,
        ema: Fraction = 0.0,
        conditional: bool = False,
        warm_start: bool = False,
        precision: Literal["no", "tf32", "bf16"] = "no",
    ) -> None:
        if ema == 1:
            raise ValueError(
                "ema=1.0 would never learn; allowed: 0 (off) up to just below 1, such as 0.99"
            )
        if max(betas) == 1:
            raise ValueError(
                f"betas must be below 1, got {list(betas)}; Adam's usual ones are [0.0, 0.9] here"
            )
        self.steps, self.critic_steps, self.batch, self.betas, self.layers = (
            steps,
            critic_steps,
            batch,
            tuple(betas),
            layers,
        )
        own = {
            "lr": lr,
            "width": width,
            "latent": latent,
            "penalty_weight": penalty_weight,
            "clip": clip,
        }
        self.own = {name: value for name, value in own.items() if value is not None}
        self.penalty, self.ema, self.warm_start, self.precision = (
            penalty,
            ema,
            warm_start,
            precision,
        )
        self.conditional = conditional
        self.model_: PointGan | ImageGan | None = None
        self.config_: JsonObject = {}

    @property
    def numbers(self) -> dict[str, Any]:
        """The parameters whose defaults differ between points and images."""
        return (IMAGES if isinstance(self.model_, ImageGan) else POINTS) | self.own

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        images, y = data.x.ndim == 4, data.y if self.conditional else None
        x = data.x if images else data.x.astype(np.float32)  # [n, replicates, d]
        refuse_non_finite_data([x])
        config = self._config(x, label_counts(y, data))
        with seeded(rng):
            fresh = _build(config)
        if self.model_ is None or not self.warm_start or not same_networks(config, self.config_):
            self.model_ = fresh
        self.config_ = config
        if isinstance(self.model_, PointGan):
            self.model_.standardise.learn(x)
        return self.train(self.model_, x, y, rng)

    def train(
        self,
        model: PointGan | ImageGan,
        x: np.ndarray,
        y: np.ndarray | None,
        rng: np.random.Generator,
    ) -> dict[str, float]:
        """Train these networks, as they are now, on samples x and their labels y."""
        self.model_ = model
        how = Training(
            steps=self.steps,
            batch=self.batch,
            replicates=None if isinstance(model, ImageGan) else x.shape[1],
            ema=self.ema,
            precision=self.precision,
        )
        return train(self._turns(model), [x] if y is None else [x, y], rng, how)

    def _config(self, x: np.ndarray, counts: list[int]) -> JsonObject:
        numbers, labels = (
            (IMAGES if x.ndim == 4 else POINTS) | self.own,
            {"label_counts": counts},
        )
        config = {"latent": numbers["latent"], "width": numbers["width"]}
        if x.ndim == 4:
            return {"shape": list(x.shape[1:]), **config, **labels}
        return {
            "replicates": x.shape[1],
            "d": x.shape[2],
            **config,
            "layers": self.layers,
            **(labels if counts else {}),
        }

    def _turns(self, model: PointGan | ImageGan) -> list[Turn]:
        how: dict[str, Any] = {"lr": self.numbers["lr"], "betas": self.betas}
        after = self._clip_weights if self.penalty == "clip" else None
        critic = Turn(
            model.critic,
            self._critic_loss,
            repeats=self.critic_steps,
            after=after,
            name="critic",
            **how,
        )
        return [critic, Turn(model.generator, self._generator_loss, name="generator", **how)]

    def _critic_loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        """E critic(fake) - E critic(real) + penalty: minus the Wasserstein-1 distance when the
        critic is 1-Lipschitz.
        """
        model, y, n = self.model_, _labels(batch), len(batch[0])
        assert model is not None
        real = model.read(batch[0])
        with torch.no_grad():
            fake = model.fake(model.normals(n, noise), y).to(real.dtype)
        value = model.value(
            torch.cat([fake, real], dim=model.SAMPLES), None if y is None else torch.cat([y, y])
        )
        loss = value[..., :n].mean(-1) - value[..., n:].mean(-1)  # [] or [replicates]
        if self.penalty == "gradient":
            loss = loss + self.numbers["penalty_weight"] * self._gradient_penalty(
                real, fake, noise, y
            )
        return loss

    def _gradient_penalty(
        self, real: Tensor, fake: Tensor, noise: torch.Generator, y: Tensor | None = None
    ) -> Tensor:
        """E (|gradient of the critic| - 1)^2 on segments between real and fake samples, [] or
        [replicates].
        """
        model = self.model_
        assert model is not None
        with torch.autocast(real.device.type, enabled=False):
            along = torch.empty_like(real[model.ONE]).uniform_(generator=noise)
            between = torch.lerp(real, fake, along).requires_grad_()
            value = model.value(between, y)
            (gradient,) = torch.autograd.grad(
                value, between, torch.ones_like(value), create_graph=True
            )
            return (
                (torch.sqrt(gradient.square().sum(model.COORDINATES) + 1e-12) - 1).square().mean(-1)
            )

    def _generator_loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        model, y = self.model_, _labels(batch)
        assert model is not None
        return -model.value(model.fake(model.normals(len(batch[0]), noise), y), y).mean(
            -1
        )  # [] or [replicates]

    @torch.no_grad()
    def _clip_weights(self) -> None:
        assert self.model_ is not None
        for weight in self.model_.critic.parameters():
            weight.clamp_(-self.numbers["clip"], self.numbers["clip"])

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """bias scales the latents' standard deviation (truncation).

        The i-th sample depends on rng and its label only.
        """
        assert self.model_ is not None, "fit or load comes first"
        y = labels_for(n, labels, self.config_.get("label_counts", ()))
        across = (self.model_.replicates,) if isinstance(self.model_, PointGan) else ()
        z = rng.standard_normal((n, *across, self.config_["latent"]), dtype=np.float32)
        z *= np.float32(1 if bias is None else bias)
        if isinstance(self.model_, PointGan):
            return Samples(self._drawn(z.swapaxes(0, 1), y), y)
        drawn = [self._drawn(z[c], None if y is None else y[c]) for c in pieces(n, BATCH_OUT)]
        return Samples(np.concatenate(drawn), y)

    @torch.inference_mode()
    def _drawn(self, z: np.ndarray, y: np.ndarray | None) -> np.ndarray:
        model, on = self.model_, device()
        assert model is not None
        return (
            model.write(model.fake(tensor(z, on), None if y is None else tensor(y, on)))
            .cpu()
            .numpy()
        )

    def save(self, folder: Path) -> None:
        assert self.model_ is not None, "fit or load comes first"
        save_weights(self.model_, folder, self.config_)

    def load(self, folder: Path) -> None:
        self.model_, self.config_ = load_weights(folder, _build)


def _build(config: JsonObject) -> PointGan | ImageGan:
    return ImageGan(**config) if "shape" in config else PointGan(**config)


def _labels(batch: tuple[Tensor, ...]) -> Tensor | None:
    return batch[1] if len(batch) > 1 else None
