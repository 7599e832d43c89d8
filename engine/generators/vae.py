"""Variational autoencoder, conditional on labels: convolutional for images as Yi et al.
(2510.16657), an MLP for points.

Loss = reconstruction + KL to the standard normal, in nats, summed over pixels and latents (Kingma
and Welling 2014); not the beta-VAE and not the mean-squared-error variant.  Point networks are
stacked: one per replicate, trained at once.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from engine.files import JsonObject
from engine.generators import _pixels as pixels
from engine.generators._autoencoders import ImageVae, PointVae
from engine.generators._labels import label_counts, labels_for, same_networks
from engine.parts import Bands, Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from engine.samples import Samples
from engine.training.device import device, seeded, tensor, torch_generator
from engine.training.loop import Training, Turn, refuse_non_finite_data, train
from engine.training.progress import pieces
from engine.training.weights import load_weights, save_weights

BATCH_OUT = 1024  # samples decoded at a time
# steps of deep networks and Gaussian pixels: without it the variances of 64 px flowers are infinite
# by step 200
WARMUP = 100


class Vae:
    """Encoder and decoder by Adam; a sample is the decoder's mean picture, or a noisy point, unless
    `draw` says otherwise.

    steps        optimiser steps of a fit.
    batch        samples per step (Yi: 128).
    lr           Adam's learning rate (Yi: 1e-3).
    latent       number of latent variables.
    kl_weight    of the KL in the training loss; below 1: sharper, more varied, less of a bound.
    width        channels of the first convolution; half the hidden units of the MLPs for points.
    halvings     convolutions that halve an image, whose sides must divide by two so often; None: 2,
                 from 32 pixels on as many as leave 4 x 4.
    likelihood   of pixels: bernoulli, of bits; continuous_bernoulli, of grey levels; gaussian with
                 one learnt deviation, which suits colour, or optimal_gaussian with the deviation in
                 closed form, the root mean squared error (Rybkin); points are always Gaussian, with
                 a deviation per direction.
    draw         mean: the decoder's mean, which lacks the variance about it in every generation;
                 sample: a draw of the likelihood (of bernoulli every pixel 0 or 255, as Yi, which
                 suits data of two levels only); None: the mean of pictures, a sample of points.
    binarise     the former name of `draw: sample` under likelihood bernoulli.
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
    DRAWING = ("binarise", "draw")
    COST = "small"
    # of points the less the more modes there are to bridge; of images the mean picture is drawn
    VARIANCE: ClassVar[Bands] = {"points": (0.65, 1.0), "images": (0.45, 0.75)}
    HALVES = ("halvings", 2)
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
        likelihood: Literal[
            "bernoulli", "continuous_bernoulli", "gaussian", "optimal_gaussian"
        ] = "bernoulli",
        draw: Literal["mean", "sample"] | None = None,
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
        if binarise and (likelihood != "bernoulli" or draw == "mean"):
            other = "draw 'mean'" if draw == "mean" else f"likelihood {likelihood!r}"
            raise ValueError(
                f"binarise draws Bernoulli pixels, which does not go with {other}; leave binarise "
                "out, and say draw: sample for a draw of the likelihood"
            )
        self.steps, self.batch, self.lr, self.latent, self.width = steps, batch, lr, latent, width
        self.kl_weight, self.halvings, self.likelihood, self.conditional = (
            kl_weight,
            halvings,
            likelihood,
            conditional,
        )
        self.binarise, self.draw, self.ema, self.warm_start, self.precision = (
            binarise,
            draw,
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
        config = self._config(x, label_counts(y, data))
        with seeded(rng):
            fresh = _build(config)
        if self.model_ is None or not self.warm_start or not same_networks(config, self.config_):
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
            warmup=WARMUP if config.keys() & {"halvings", "gaussian", "likelihood"} else 0,
        )
        report = train(
            [Turn(model, self._loss, lr=self.lr)], [x] if y is None else [x, y], rng, how
        )
        if isinstance(model, ImageVae) and model.likelihood == "optimal_gaussian":
            self._settle(model, x, y)
        return report

    def _settle(self, model: ImageVae, x: np.ndarray, y: np.ndarray | None) -> None:
        """The optimal deviation over all that was trained on, at one draw of the latents each: of a
        stream of its own, wherever the training was resumed.
        """
        on, squares = device(), 0.0
        noise = torch_generator(np.random.default_rng(0), on)
        with torch.inference_mode():
            for i in range(0, len(x), BATCH_OUT):
                images = tensor(x[i : i + BATCH_OUT], on)
                labels = None if y is None else tensor(y[i : i + BATCH_OUT], on)
                decoded = model.decode(_latents(model, images, labels, noise)[0], labels)
                log_sd = pixels.log_root_mean_square(images, decoded)
                squares += len(images) * float(torch.exp(2 * log_sd))
        assert model.log_sd is not None, "it has a place for it"
        model.log_sd.fill_(0.5 * math.log(squares / len(x)))

    def _config(self, x: np.ndarray, counts: list[int]) -> JsonObject:
        config = {
            "shape": list(x.shape[1:]),
            "label_counts": counts,
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
        own = "" if self.likelihood in ("bernoulli", "gaussian") else self.likelihood
        other: dict[str, tuple[JsonObject | int | str, int | str]] = {
            "halvings": (halvings, 2),
            "gaussian": (self.likelihood == "gaussian", False),
            "likelihood": (own, ""),
        }
        return config | {name: value for name, (value, usual) in other.items() if value != usual}

    def _loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        reconstruction, kl = self._parts(batch[0], batch[1] if len(batch) > 1 else None, noise)
        return (reconstruction + self.kl_weight * kl).mean(-1)  # [] or [replicates]

    def _parts(self, x: Tensor, y: Tensor | None, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Reconstruction and KL in nats, [b] or [replicates, b] each,
        at one draw of the latents.
        """
        assert self.model_ is not None
        z, mean, log_variance = _latents(self.model_, x, y, noise)
        decoded = self.model_.decode(z, y)
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
        drawn = [self._decode(z[c], None if y is None else y[c], rng) for c in pieces(n, BATCH_OUT)]
        return Samples(np.concatenate(drawn), y)

    def _decode(self, z: np.ndarray, y: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        model, on = self.model_, device()
        assert model is not None
        with torch.inference_mode():
            latents = tensor(z if z.ndim == 2 else z.swapaxes(0, 1), on)
            decoded = model.decode(latents, None if y is None else tensor(y, on))
            return model.draw(decoded, rng, self._is_noisy(model))

    def _is_noisy(self, model: ImageVae | PointVae) -> bool:
        """Whether a draw has the noise about the decoder's mean."""
        if self.draw is None:
            return self.binarise or isinstance(model, PointVae)
        return self.draw == "sample"

    def save(self, folder: Path) -> None:
        assert self.model_ is not None, "fit or load comes first"
        save_weights(self.model_, folder, self.config_)

    def load(self, folder: Path) -> None:
        self.model_, self.config_ = load_weights(folder, _build)


def _latents(
    model: ImageVae | PointVae, x: Tensor, y: Tensor | None, noise: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One draw of the latents of every sample, with their mean and log variance."""
    mean, log_variance = (v.float() for v in model.encode(x, y))
    epsilon = torch.empty_like(mean).normal_(generator=noise)
    return mean + epsilon * torch.exp(0.5 * log_variance), mean, log_variance


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
