"""Variational autoencoder, conditional on labels: convolutional for images as Yi et al.
(2510.16657), an MLP for points.

Loss = reconstruction + KL to the standard normal, in nats, summed over pixels and latents (Kingma
and Welling 2014); not the beta-VAE and not the mean-squared-error variant.  Point networks are
stacked: one per replicate, trained at once.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.files import JsonObject
from engine.generators._labels import label_counts, labels_for
from engine.parts import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from engine.samples import Samples
from engine.training.device import device, seeded, tensor, torch_generator
from engine.training.loop import Training, Turn, refuse_non_finite_data, train
from engine.training.stacked import Standardise, stacked_mlp
from engine.training.weights import load_weights, save_weights

BATCH_OUT = 1024  # samples decoded at a time
# of a one-hot label; at 1 the first thousand steps on MNIST hardly read it (43 % right digits, 93 %
# here)
LABEL_LENGTH = 10.0
# steps of deep networks and Gaussian pixels: without it the variances of 64 px flowers are infinite
# by step 200
WARMUP = 100
LOG_2PI = math.log(2 * math.pi)
LEAST_LOG_SD = -math.log(
    255 * math.sqrt(12)
)  # of rounding to 256 levels: no picture is known better


class ImageVae(nn.Module):
    """As many convolutions down as up (kernel 4, stride 2).  x is uint8 [b, h, w, c], y [b].

    Pixels are Bernoulli, or Gaussian about the mean picture with one learnt deviation for all
    (sigma-VAE, Rybkin 2006.13202).
    """

    def __init__(
        self,
        shape: list[int],
        classes: int,
        latent: int,
        width: int,
        halvings: int = 2,
        gaussian: bool = False,
    ) -> None:
        super().__init__()
        height, width_px, channels = shape
        widths = [width * 2 ** min(i, 3) for i in range(halvings)]  # after each convolution
        self.classes, self.small = classes, (widths[-1], height >> halvings, width_px >> halvings)
        n_flat = math.prod(self.small)
        down: list[nn.Module] = []
        for n_in, n_out in zip([channels, *widths], widths, strict=False):
            down += [nn.Conv2d(n_in, n_out, 4, 2, 1), nn.GELU()]
        self.down = nn.Sequential(*down, nn.Flatten())
        self.to_latent = nn.Linear(n_flat + classes, 2 * latent)
        self.from_latent = nn.Linear(latent + classes, n_flat)
        up: list[nn.Module] = []
        for n_in, n_out in zip(widths[::-1], [*widths[-2::-1], channels], strict=True):
            up += [nn.ConvTranspose2d(n_in, n_out, 4, 2, 1), nn.GELU()]
        self.up = nn.Sequential(*up[:-1])
        self.log_sd = (
            nn.Parameter(torch.tensor(-1.5)) if gaussian else None
        )  # large: the picture comes before its details

    def encode(self, images: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, [b, latent] each."""
        flat = self.down(_unit(images))
        mean, log_variance = self.to_latent(_beside(flat, y, self.classes)).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Logits of the pixels, [b, channels, height, width]."""
        flat = functional.gelu(self.from_latent(_beside(z, y, self.classes)))
        out: Tensor = self.up(flat.unflatten(1, self.small))
        return out

    def reconstruction(self, images: Tensor, decoded: Tensor) -> Tensor:
        """-log p(x|z) in nats, [b]; Gaussian: the density of intensities in [0, 1]."""
        if self.log_sd is None:
            each = functional.binary_cross_entropy_with_logits(
                decoded.float(), _unit(images), reduction="none"
            )
        else:
            log_sd = self.log_sd.clamp(min=LEAST_LOG_SD)
            z = (_unit(images) - torch.sigmoid(decoded.float())) * torch.exp(-log_sd)
            each = 0.5 * z.square() + log_sd + 0.5 * LOG_2PI
        return each.flatten(1).sum(1)

    def draw(self, decoded: Tensor, rng: np.random.Generator, binarise: bool) -> np.ndarray:
        """The mean picture, or a Bernoulli draw of every pixel: uint8 [b, h, w, c]."""
        mean = torch.sigmoid(decoded.float()).permute(0, 2, 3, 1).cpu().numpy()
        if binarise:
            return np.where(rng.random(mean.shape) < mean, 255, 0).astype(np.uint8)
        values: np.ndarray = np.rint(mean * 255).astype(np.uint8)
        return values


class PointVae(nn.Module):
    """One MLP per replicate, a learnt Gaussian noise per direction.

    x is [b, replicates, d], y [b] or [b, replicates].
    """

    def __init__(self, shape: list[int], classes: int, latent: int, width: int) -> None:
        super().__init__()
        replicates, d = shape
        self.classes = classes
        self.standardise = Standardise(replicates, d)
        self.encoder = stacked_mlp(
            replicates, (d + classes, 2 * width, 2 * width, 2 * latent), nn.GELU
        )
        self.decoder = stacked_mlp(replicates, (latent + classes, 2 * width, 2 * width, d), nn.GELU)
        self.log_sd = nn.Parameter(
            torch.full((replicates, 1, d), -2.0)
        )  # small: it grows quickly but shrinks slowly

    def encode(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, [replicates, b, latent] each."""
        z = self.standardise(x.transpose(0, 1))
        mean, log_variance = self.encoder(_beside(z, _across(y, z), self.classes)).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Means in standardised coordinates, [replicates, b, d]."""
        out: Tensor = self.decoder(_beside(z, _across(y, z), self.classes))
        return out

    def reconstruction(self, x: Tensor, decoded: Tensor) -> Tensor:
        """-log p(x|z) in nats, in the data's own units: [replicates, b]."""
        z = (self.standardise(x.transpose(0, 1)) - decoded.float()) * torch.exp(-self.log_sd)
        each = 0.5 * z.square() + self.log_sd + 0.5 * LOG_2PI + torch.log(self.standardise.sd)
        out: Tensor = each.sum(-1)
        return out

    def draw(self, decoded: Tensor, rng: np.random.Generator, binarise: bool) -> np.ndarray:
        """float32 [b, replicates, d]."""
        noise = tensor(
            rng.standard_normal(decoded.transpose(0, 1).shape, dtype=np.float32), decoded.device
        )
        x = self.standardise.inverse(decoded + noise.transpose(0, 1) * torch.exp(self.log_sd))
        return x.transpose(0, 1).cpu().numpy()


def _unit(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float() / 255  # [b, c, h, w]


def _beside(x: Tensor, y: Tensor | None, classes: int) -> Tensor:
    return (
        x
        if y is None
        else torch.cat([x, LABEL_LENGTH * functional.one_hot(y, classes).to(x.dtype)], dim=-1)
    )


def _across(y: Tensor | None, x: Tensor) -> Tensor | None:
    """Labels [b], shared by the replicates, or [b, replicates] -> [replicates, b]."""
    return None if y is None else (y.T if y.ndim == 2 else y.expand(x.shape[0], -1))


class Vae:
    """Encoder and decoder by Adam; a sample is the decoder's mean picture, or a noisy point.

    steps        optimiser steps of a fit.
    batch        samples per step (Yi: 128).
    lr           Adam's learning rate (Yi: 1e-3).
    latent       number of latent variables.
    kl_weight    of the KL in the training loss; below 1: sharper, more varied, less of a bound.
    width        channels of the first convolution; half the hidden units of the MLPs for points.
    halvings     convolutions that halve an image, whose sides must divide by two so often; None: 2,
                 from 32 pixels on as many as leave 4 x 4.
    likelihood   of pixels: bernoulli, or gaussian with one learnt deviation, which suits colour;
                 points are always Gaussian, with a deviation per direction.
    binarise     draw every pixel as 0 or 255 (Yi) instead of giving the mean picture.
    ema          decay per step of the average of the weights, which is what is kept, below 1; 0:
                 the last weights.
    conditional  learn and draw by class label, where the data have labels; false: labels are not
                 looked at.
    warm_start   go on from the networks of the generation before, where they are of the same shape,
                 instead of from new weights.
    precision    number format of training: no (float32), tf32, bf16 or fp16, each faster on a GPU
                 and coarser.
    """

    ACCEPTS = ("points", "images")
    KNOWS = ("bound",)
    CONDITIONAL = "conditional"
    CONTINUES = "warm_start"
    DRAWING = ("binarise",)
    COST = "small"
    TINY = {"steps": 20, "width": 8, "latent": 4}

    def __init__(
        self,
        *,
        steps: PositiveInt = 400,
        batch: PositiveInt = 64,
        lr: PositiveFloat = 3e-3,
        latent: PositiveInt = 20,
        kl_weight: NonNegativeFloat = 1.0,
        width: PositiveInt = 32,
        halvings: PositiveInt | None = None,
        likelihood: Literal["bernoulli", "gaussian"] = "bernoulli",
        binarise: bool = False,
        ema: Fraction = 0.0,
        conditional: bool = True,
        warm_start: bool = False,
        precision: Literal["no", "tf32", "bf16", "fp16"] = "no",
    ) -> None:
        if ema == 1:
            raise ValueError(
                "ema=1.0 would never learn; allowed: 0 (off) up to just below 1, such as 0.99"
            )
        if binarise and likelihood == "gaussian":
            raise ValueError(
                "binarise draws Bernoulli pixels, which likelihood 'gaussian' has not; leave "
                "one of the two out"
            )
        self.steps, self.batch, self.lr, self.latent, self.width = steps, batch, lr, latent, width
        self.kl_weight, self.halvings, self.likelihood, self.conditional = (
            kl_weight,
            halvings,
            likelihood,
            conditional,
        )
        self.binarise, self.ema, self.warm_start, self.precision = (
            binarise,
            ema,
            warm_start,
            precision,
        )
        self.model_: ImageVae | PointVae | None = None
        self.config_: JsonObject = {}

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        images, y = data.x.ndim == 4, data.y if self.conditional else None
        x = data.x if images else data.x.astype(np.float32)
        refuse_non_finite_data([x])
        config = self._config(x, y)
        with seeded(rng):
            fresh = _build(config)
        if self.model_ is None or not self.warm_start or self.config_["shape"] != config["shape"]:
            self.model_ = fresh
        self.config_, model = config, self.model_
        if isinstance(model, PointVae):
            model.standardise.learn(x)
        how = Training(
            steps=self.steps,
            batch=self.batch,
            replicates=None if images else x.shape[1],
            precision=self.precision,
            ema=self.ema,
            warmup=WARMUP if "halvings" in config or "gaussian" in config else 0,
        )
        return train([Turn(model, self._loss, lr=self.lr)], [x] if y is None else [x, y], rng, how)

    def _config(self, x: np.ndarray, y: np.ndarray | None) -> JsonObject:
        config = {
            "shape": list(x.shape[1:]),
            "label_counts": label_counts(y),
            "latent": self.latent,
            "width": self.width,
        }
        if x.ndim == 3:
            return config
        halvings = self.halvings or halvings_of(x.shape[1], x.shape[2])
        if x.shape[1] % 2**halvings or x.shape[2] % 2**halvings:
            raise ValueError(
                f"vae needs height and width in multiples of {2**halvings} (it halves them "
                f"{halvings} times), "
                f"got {x.shape[1]} x {x.shape[2]}"
            )
        other = {"halvings": (halvings, 2), "gaussian": (self.likelihood == "gaussian", False)}
        return config | {name: value for name, (value, usual) in other.items() if value != usual}

    def _loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        reconstruction, kl = self._parts(batch[0], batch[1] if len(batch) > 1 else None, noise)
        return (reconstruction + self.kl_weight * kl).mean(-1)  # [] or [replicates]

    def _parts(self, x: Tensor, y: Tensor | None, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Reconstruction and KL in nats, [b] or [replicates, b] each,
        at one draw of the latents.
        """
        assert self.model_ is not None
        mean, log_variance = (v.float() for v in self.model_.encode(x, y))
        epsilon = torch.empty_like(mean).normal_(generator=noise)
        decoded = self.model_.decode(mean + epsilon * torch.exp(0.5 * log_variance), y)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
        return self.model_.reconstruction(x, decoded), kl

    def nelbo(self, samples: Samples, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Reconstruction and KL of every sample in nats, [n] or [n, replicates] each; their sum
        bounds -log p(x) from above.
        """
        assert self.model_ is not None, "fit or load comes first"
        x = samples.x if samples.x.ndim == 4 else samples.x.astype(np.float32)
        labels = samples.y if self.config_["label_counts"] else None
        noise, on = torch_generator(rng, device()), device()
        parts = []
        with torch.inference_mode():
            for i in range(0, len(x), BATCH_OUT):
                y = None if labels is None else tensor(labels[i : i + BATCH_OUT], on)
                parts.append(
                    torch.stack(self._parts(tensor(x[i : i + BATCH_OUT], on), y, noise)).cpu()
                )
        reconstruction, kl = torch.cat(parts, dim=-1).double().numpy()
        return reconstruction.T, kl.T

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """bias scales the latents' standard deviation (truncation).

        Latents are drawn first: the i-th depends on rng only.
        """
        assert self.model_ is not None, "fit or load comes first"
        y = labels_for(n, labels, self.config_["label_counts"])
        replicates = () if isinstance(self.model_, ImageVae) else (self.config_["shape"][0],)
        z = rng.standard_normal((n, *replicates, self.config_["latent"]), dtype=np.float32)
        z *= np.float32(1 if bias is None else bias)
        chunks = [slice(i, i + BATCH_OUT) for i in range(0, n, BATCH_OUT)]
        return Samples(
            np.concatenate([self._decode(z[c], None if y is None else y[c], rng) for c in chunks]),
            y,
        )

    def _decode(self, z: np.ndarray, y: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        model, on = self.model_, device()
        assert model is not None
        with torch.inference_mode():
            latents = tensor(z if z.ndim == 2 else z.swapaxes(0, 1), on)
            decoded = model.decode(latents, None if y is None else tensor(y, on))
            return model.draw(decoded, rng, self.binarise)

    def save(self, folder: Path) -> None:
        assert self.model_ is not None, "fit or load comes first"
        save_weights(self.model_, folder, self.config_)

    def load(self, folder: Path) -> None:
        self.model_, self.config_ = load_weights(folder, _build)


def _build(config: JsonObject) -> ImageVae | PointVae:
    numbers = {name: config[name] for name in config if name != "label_counts"}
    kind = ImageVae if len(config["shape"]) == 3 else PointVae
    return kind(classes=len(config["label_counts"]), **numbers)


def halvings_of(height: int, width: int) -> int:
    """Twice below 32 pixels; from there on as often as leaves whole numbers and at least 4 x 4."""
    small = min(height, width)
    deepest = 2
    while (
        small >= 32
        and height % 2 ** (deepest + 1) == width % 2 ** (deepest + 1) == 0
        and small >> (deepest + 1) >= 4
    ):
        deepest += 1
    return deepest
