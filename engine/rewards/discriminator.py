"""A discriminator of real and synthetic samples as reward: Yi's SyntheticDiscriminator and its
conditional form (2510.16657).

MLP d-512-256-128-64-1, LeakyReLU .2, binary cross entropy, Adam 1e-3, batch 128, pixels cut at one
half.  The score is the logit, which orders samples as the probability does without rounding the
best ones to 1.  Not a GAN's critic: the generator it is trained against stays as it is.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import register_parametrization

from engine.parts import Dataset, Generator, PositiveInt, traits_of
from engine.samples import Samples, proportional_labels
from engine.training.device import device, seeded, tensor
from engine.training.loop import Training, Turn, refuse_non_finite_data, train
from engine.training.stacked import StackedLinear, Standardise

BATCH_OUT = 8192  # samples scored at a time


class UnitLength(nn.Module):
    """Spectral normalisation of a layer with one output, whose only singular value is its weights'
    length.
    """

    def forward(self, weight: Tensor) -> Tensor:
        out: Tensor = weight / weight.norm(dim=(1, 2), keepdim=True)  # [replicates, n_in, 1]
        return out


class Judge(nn.Module):
    """Inputs [b, replicates, d] -> logits [b, replicates]; labels [b] are put beside the input as
    one-hot vectors.
    """

    def __init__(self, replicates: int, d: int, classes: int, widths: list[int]) -> None:
        super().__init__()
        self.classes = classes
        self.standardise = Standardise(replicates, d)
        layers: list[nn.Module] = []
        for n_in, n_out in zip([d + classes, *widths[:-1]], widths, strict=True):
            layers += [StackedLinear(replicates, n_in, n_out), nn.LeakyReLU(0.2)]
            layers += [nn.Dropout(0.1)] if classes else []
        self.layers = nn.Sequential(*layers)
        self.last = StackedLinear(replicates, widths[-1], 1)
        if classes:
            register_parametrization(self.last, "weight", UnitLength())

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        z = self.standardise(x.transpose(0, 1).float())  # [replicates, b, d]
        if self.classes:
            beside = functional.one_hot(y, self.classes).to(z.dtype)  # [b, classes]
            z = torch.cat([z, beside.expand(len(z), -1, -1)], dim=-1)
        out: Tensor = self.last(self.layers(z))[..., 0].T
        return out


class Discriminator:
    """An MLP that learns to tell real samples from those of a generator.

    conditional  judge a sample beside its label, as the paper's second form: one-hot label, dropout
                 .1, spectral norm on the last layer, label smoothing .05; false: by itself.
    n_real       real samples that it learns from, drawn anew from the data set (Yi: all 60,000);
                 None: the lineage's own real set.
    steps        optimiser steps of its training (Yi: at most 80 epochs).
    batch        samples per step, real and synthetic ones mixed.
    """

    ACCEPTS = ("points", "images")
    NEEDS = {"data.labels": {"conditional": (True,)}, "draws.labels": {"conditional": (True,)}}
    TINY = {"steps": 5}

    def __init__(
        self,
        *,
        conditional: bool = False,
        n_real: PositiveInt | None = None,
        steps: PositiveInt = 2000,
        batch: PositiveInt = 128,
    ) -> None:
        self.conditional, self.n_real, self.steps, self.batch = conditional, n_real, steps, batch

    def fit(
        self, dataset: Dataset, real: Samples, generator: Generator, rng: np.random.Generator
    ) -> dict[str, float]:
        """Learn from as many synthetic samples of the generator as real ones; returns its accuracy
        on new ones of both.
        """
        classes = traits_of(dataset).classes or 0
        if self.conditional and not classes:
            raise ValueError(
                f"discriminator: conditional=True needs labels; {type(dataset).__name__} has none"
            )
        true = real if self.n_real is None else dataset.sample(self.n_real, rng)
        false = generator.sample(len(true), rng, labels=_labels_like(true))
        x = np.concatenate([_input(true), _input(false)])  # [2 n, replicates, d]
        y = np.concatenate([self._labels(true), self._labels(false)])  # [2 n]
        is_real = np.repeat(np.array([1, 0], dtype=np.float32), len(true))
        with seeded(rng):
            widths = [512, 256, 128, 64] if true.x.ndim == 4 else [64, 64]
            model = Judge(x.shape[1], x.shape[2], classes if self.conditional else 0, widths)
        if true.x.ndim == 3:
            refuse_non_finite_data([x])
            model.standardise.learn(x)
        smooth = 0.05 if self.conditional else 0.0

        def cross_entropy(rows: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
            logits = model(rows[0], rows[1])  # [b, replicates]
            target = (rows[2] * (1 - smooth) + smooth / 2)[:, None].expand_as(logits)
            return functional.binary_cross_entropy_with_logits(
                logits, target, reduction="none"
            ).mean(0)

        how = Training(steps=self.steps, batch=self.batch)
        train([Turn(model, cross_entropy, lr=1e-3)], [x, y, is_real], rng, how)
        self._model = model
        return {"accuracy": self._accuracy(dataset, generator, rng)}

    def score(self, samples: Samples) -> np.ndarray:
        """Logits that a sample is real: [n] of images, [n, replicates] of points."""
        x, y = _input(samples), self._labels(samples)
        on = device()
        self._model.to(on).eval()
        with torch.inference_mode():
            parts = [
                self._model(
                    tensor(x[i : i + BATCH_OUT], on), tensor(y[i : i + BATCH_OUT], on)
                ).cpu()
                for i in range(0, len(x), BATCH_OUT)
            ]
        logits = torch.cat(parts).double().numpy()  # [n, replicates]
        return logits if samples.x.ndim == 3 else logits[:, 0]

    def _accuracy(self, dataset: Dataset, generator: Generator, rng: np.random.Generator) -> float:
        true = dataset.held_out(1000)
        false = generator.sample(len(true), rng, labels=_labels_like(true))
        return float(np.mean(self.score(true) > 0) + np.mean(self.score(false) <= 0)) / 2

    def _labels(self, samples: Samples) -> np.ndarray:
        if not self.conditional:
            return np.zeros(len(samples), dtype=np.int64)
        if samples.y is None:
            raise ValueError(
                "discriminator: conditional=True scores labelled samples, and these have no labels"
            )
        return samples.y.astype(np.int64)


def _labels_like(true: Samples) -> np.ndarray | None:
    """Labels to draw as many synthetic samples given; None where real ones have none."""
    return None if true.y is None else proportional_labels(true.y, len(true))


def _input(samples: Samples) -> np.ndarray:
    """[n, replicates, d]: points as float32; pixels cut at one half, 0 or 1, as one replicate."""
    if samples.x.ndim == 3:
        return samples.x.astype(np.float32)
    return (samples.x.reshape(len(samples), 1, -1) > 127).astype(np.uint8)
