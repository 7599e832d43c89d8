"""Variational autoencoder, conditional on labels: convolutional for images as Yi et al. (2510.16657), an MLP for points.

Loss = reconstruction + KL to the standard normal, in nats, summed over pixels and latents (Kingma and Welling 2014); not the
beta-VAE and not the mean-squared-error variant.  Point networks are stacked: one per replicate, trained at once.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine import nets
from engine.parts import Finding, Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from engine.samples import Samples, proportional_labels

BATCH_OUT = 1024  # samples decoded at a time
LABEL_LENGTH = 10.0  # of a one-hot label; at 1 the first thousand steps on MNIST hardly read it (43 % right digits, 93 % here)
LOG_2PI = math.log(2 * math.pi)


class ImageVae(nn.Module):
    """Two convolutions down, two up (kernel 4, stride 2); Bernoulli pixels.  x is uint8 [b, h, w, c], y [b]."""

    def __init__(self, shape: list[int], classes: int, latent: int, width: int) -> None:
        super().__init__()
        height, width_px, channels = shape
        self.classes, self.small = classes, (2 * width, height // 4, width_px // 4)
        n_flat = math.prod(self.small)
        self.down = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1), nn.GELU(), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.GELU(), nn.Flatten()
        )
        self.to_latent = nn.Linear(n_flat + classes, 2 * latent)
        self.from_latent = nn.Linear(latent + classes, n_flat)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.GELU(), nn.ConvTranspose2d(width, channels, 4, 2, 1)
        )

    def encode(self, images: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, [b, latent] each."""
        flat = self.down(_unit(images))
        mean, log_variance = self.to_latent(_beside(flat, y, self.classes)).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Logits of the pixels, [b, channels, height, width]."""
        flat = functional.gelu(self.from_latent(_beside(z, y, self.classes)))
        return self.up(flat.unflatten(1, self.small))

    def reconstruction(self, images: Tensor, decoded: Tensor) -> Tensor:
        """-log p(x|z) in nats, [b]."""
        each = functional.binary_cross_entropy_with_logits(decoded.float(), _unit(images), reduction="none")
        return each.flatten(1).sum(1)

    def draw(self, decoded: Tensor, rng: np.random.Generator, binarise: bool) -> np.ndarray:
        """The mean picture, or a Bernoulli draw of every pixel: uint8 [b, h, w, c]."""
        mean = torch.sigmoid(decoded.float()).permute(0, 2, 3, 1).cpu().numpy()
        if binarise:
            return np.where(rng.random(mean.shape) < mean, 255, 0).astype(np.uint8)
        return np.rint(mean * 255).astype(np.uint8)


class PointVae(nn.Module):
    """One MLP per replicate, a learnt Gaussian noise per direction.  x is [b, replicates, d], y [b] or [b, replicates]."""

    def __init__(self, shape: list[int], classes: int, latent: int, width: int) -> None:
        super().__init__()
        replicates, d = shape
        self.classes = classes
        self.standardise = nets.Standardise(replicates, d)
        self.encoder = nets.stacked_mlp(replicates, (d + classes, 2 * width, 2 * width, 2 * latent), nn.GELU)
        self.decoder = nets.stacked_mlp(replicates, (latent + classes, 2 * width, 2 * width, d), nn.GELU)
        self.log_sd = nn.Parameter(torch.full((replicates, 1, d), -2.0))  # small: it grows quickly but shrinks slowly

    def encode(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, [replicates, b, latent] each."""
        z = self.standardise(x.transpose(0, 1))
        mean, log_variance = self.encoder(_beside(z, _across(y, z), self.classes)).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Means in standardised coordinates, [replicates, b, d]."""
        return self.decoder(_beside(z, _across(y, z), self.classes))

    def reconstruction(self, x: Tensor, decoded: Tensor) -> Tensor:
        """-log p(x|z) in nats, in the data's own units: [replicates, b]."""
        z = (self.standardise(x.transpose(0, 1)) - decoded.float()) * torch.exp(-self.log_sd)
        each = 0.5 * z.square() + self.log_sd + 0.5 * LOG_2PI + torch.log(self.standardise.sd)
        return each.sum(-1)

    def draw(self, decoded: Tensor, rng: np.random.Generator, binarise: bool) -> np.ndarray:
        """float32 [b, replicates, d]."""
        noise = nets.tensor(rng.standard_normal(decoded.transpose(0, 1).shape, dtype=np.float32), decoded.device)
        x = self.standardise.inverse(decoded + noise.transpose(0, 1) * torch.exp(self.log_sd))
        return x.transpose(0, 1).cpu().numpy()


def _unit(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float() / 255  # [b, c, h, w]


def _beside(x: Tensor, y: Tensor | None, classes: int) -> Tensor:
    return x if y is None else torch.cat([x, LABEL_LENGTH * functional.one_hot(y, classes).to(x.dtype)], dim=-1)


def _across(y: Tensor | None, x: Tensor) -> Tensor | None:
    """Labels [b], shared by the replicates, or [b, replicates] -> [replicates, b]."""
    return None if y is None else (y.T if y.ndim == 2 else y.expand(x.shape[0], -1))


class Vae:
    """Encoder and decoder by Adam; a sample is the decoder's mean picture (binarise: a Bernoulli draw), or a noisy point."""

    ACCEPTS = ("points", "images")
    CONDITIONAL = True
    COST = "small"
    TINY = {"steps": 20, "width": 8, "latent": 4}

    def __init__(
        self,
        *,
        steps: PositiveInt = 400,
        batch: PositiveInt = 64,
        lr: PositiveFloat = 3e-3,  # Yi: 1e-3 with batches of 128
        latent: PositiveInt = 20,
        kl_weight: NonNegativeFloat = 1.0,  # of the KL in the training loss; below 1: sharper, more varied, less of a bound
        width: PositiveInt = 32,  # channels of the first convolution; half the hidden units of an MLP
        binarise: bool = False,  # Yi: pixels drawn, 0 or 255
        ema: Fraction = 0.0,
        warm_start: bool = False,
        precision: Literal["no", "bf16", "fp16"] = "no",
    ) -> None:
        if ema == 1:
            raise ValueError("ema=1.0 would never learn; allowed: 0 (off) up to just below 1, such as 0.99")
        self.steps, self.batch, self.lr, self.latent, self.width = steps, batch, lr, latent, width
        self.kl_weight = kl_weight
        self.binarise, self.ema, self.warm_start, self.precision = binarise, ema, warm_start, precision
        self.model_: ImageVae | PointVae | None = None
        self.config_: dict[str, Any] = {}

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        images = data.x.ndim == 4
        x = data.x if images else data.x.astype(np.float32)
        nets.refuse_non_finite_data([x])
        config = self._config(data)
        with nets.seeded(rng):
            fresh = _build(config)
        if self.model_ is None or not self.warm_start or self.config_["shape"] != config["shape"]:
            self.model_ = fresh
        self.config_, model = config, self.model_
        if isinstance(model, PointVae):
            model.standardise.learn(x)
        how = nets.Training(
            steps=self.steps,
            batch=self.batch,
            replicates=None if images else x.shape[1],
            precision=self.precision,
            ema=self.ema,
        )
        arrays = [x] if data.y is None else [x, data.y]
        return nets.train([nets.Turn(model, self._loss, lr=self.lr)], arrays, rng, how)

    def _config(self, data: Samples) -> dict[str, Any]:
        shape = list(data.x.shape[1:])
        if len(shape) == 3 and (shape[0] % 4 or shape[1] % 4):
            raise ValueError(f"vae needs height and width in multiples of 4 (it halves twice), got {shape[0]} x {shape[1]}")
        counts = [] if data.y is None else np.bincount(data.y.ravel()).tolist()
        return {"shape": shape, "label_counts": counts, "latent": self.latent, "width": self.width}

    def _loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        reconstruction, kl = self._parts(batch[0], batch[1] if len(batch) > 1 else None, noise)
        return (reconstruction + self.kl_weight * kl).mean(-1)  # [] or [replicates]

    def _parts(self, x: Tensor, y: Tensor | None, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Reconstruction and KL in nats, [b] or [replicates, b] each, at one draw of the latents."""
        assert self.model_ is not None
        mean, log_variance = (v.float() for v in self.model_.encode(x, y))
        epsilon = torch.empty_like(mean).normal_(generator=noise)
        decoded = self.model_.decode(mean + epsilon * torch.exp(0.5 * log_variance), y)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
        return self.model_.reconstruction(x, decoded), kl

    def nelbo(self, samples: Samples, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Reconstruction and KL of every sample in nats, [n] or [n, replicates] each; their sum bounds -log p(x) from above."""
        assert self.model_ is not None, "fit or load comes first"
        x = samples.x if samples.x.ndim == 4 else samples.x.astype(np.float32)
        noise, on = nets.torch_generator(rng, nets.device()), nets.device()
        parts = []
        with torch.inference_mode():
            for i in range(0, len(x), BATCH_OUT):
                y = None if samples.y is None else nets.tensor(samples.y[i : i + BATCH_OUT], on)
                parts.append(torch.stack(self._parts(nets.tensor(x[i : i + BATCH_OUT], on), y, noise)).cpu())
        reconstruction, kl = torch.cat(parts, dim=-1).double().numpy()
        return reconstruction.T, kl.T

    def sample(self, n: int, rng: np.random.Generator, labels: np.ndarray | None = None, bias: float | None = None) -> Samples:
        """bias scales the latents' standard deviation (truncation).  Latents are drawn first: the i-th depends on rng only."""
        assert self.model_ is not None, "fit or load comes first"
        y = self._labels(n, labels)
        replicates = () if isinstance(self.model_, ImageVae) else (self.config_["shape"][0],)
        z = rng.standard_normal((n, *replicates, self.config_["latent"]), dtype=np.float32)
        z *= np.float32(1 if bias is None else bias)
        chunks = [slice(i, i + BATCH_OUT) for i in range(0, n, BATCH_OUT)]
        return Samples(np.concatenate([self._decode(z[c], None if y is None else y[c], rng) for c in chunks]), y)

    def _decode(self, z: np.ndarray, y: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        model, on = self.model_, nets.device()
        assert model is not None
        with torch.inference_mode():
            latents = nets.tensor(z if z.ndim == 2 else z.swapaxes(0, 1), on)
            decoded = model.decode(latents, None if y is None else nets.tensor(y, on))
            return model.draw(decoded, rng, self.binarise)

    def _labels(self, n: int, labels: np.ndarray | None) -> np.ndarray | None:
        counts = self.config_["label_counts"]
        if not counts:
            return None
        if labels is None:
            return proportional_labels(np.repeat(np.arange(len(counts)), counts), n)
        if labels.size and labels.max() >= len(counts):
            raise Finding("extinct", f"class {labels.max()} is asked for; the training set ends at class {len(counts) - 1}")
        return labels.astype(np.int64)

    def save(self, folder: Path) -> None:
        assert self.model_ is not None, "fit or load comes first"
        nets.save_weights(self.model_, folder, self.config_)

    def load(self, folder: Path) -> None:
        self.model_, self.config_ = nets.load_weights(folder, _build)  # type: ignore[assignment]


def _build(config: dict[str, Any]) -> ImageVae | PointVae:
    kind = ImageVae if len(config["shape"]) == 3 else PointVae
    return kind(config["shape"], len(config["label_counts"]), config["latent"], config["width"])
