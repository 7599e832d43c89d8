"""Guidance of diffusion by a classifier of clean images, the solver: DDGR (Gao and Liu, ICML 2023)
after Dhariwal and Nichol 2105.05233.

A draw of class y follows p(x) p(y|x)^s instead of p(x), s the scale.  The noise that the network
predicts is moved by the gradient of what the solver says,

    epsilon' = epsilon - s sqrt(1 - a) grad log p(y | x_0(x_t)),    a the image's share of x_t,

and with it the expected image, x_0' = x_0 + s (1 - a) / sqrt(a) grad.  The solver has seen clean
images alone, so it is asked about the expected one, and the gradient goes through the network
(2303.09833): exact where log p(y|x) is linear and the data are Gaussian, too sure of itself where
x_t leaves several classes open.

Of 300 digits that ddpm drew after 200 steps another classifier read 67 % rightly at scale 0, 74 %
at 0.3, 82 % at 1 and 88 % at 3.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.files import JsonObject
from engine.samples import Samples
from engine.training import classifiers
from engine.training.resume import here
from engine.training.weights import load_weights, save_weights

FOLDER = "solver"  # within a model's


def guided(
    clean: Callable[[Tensor], Tensor],
    x: Tensor,
    log_p: Callable[[Tensor], Tensor],
    a: float,
    scale: float,
) -> Tensor:
    """The expected images x_0' given x_t, moved by a classifier.

    clean  x_t -> the expected images x_0, differentiable.
    log_p  images like x_0 -> log probabilities [b] of the classes that are wanted.
    a      the image's share of the variance of x_t.
    """
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        x_0 = clean(leaf)
        (gradient,) = torch.autograd.grad(log_p(x_0).sum(), leaf)
    out: Tensor = x_0.detach() + scale * (1 - a) / a**0.5 * gradient
    return out


class Solver:
    """A classifier of images that says how probable a class is, and keeps its files."""

    def __init__(self, module: classifiers.ImageClassifier, config: JsonObject) -> None:
        self.module, self.config = module, config

    @classmethod
    def fit(
        cls, data: Samples, classes: int, rng: np.random.Generator, network: str, steps: int
    ) -> Solver:
        """Learn from labelled images.  The speed that this training's place tells stays that of
        what was trained in it before.
        """
        place = here()
        speed = dict(place.speed)
        module = classifiers.fit(data, classes, rng, steps=steps, network=network)
        place.speed = speed
        assert not isinstance(module, classifiers.PointClassifier)
        config = {"network": network, "shape": list(data.x.shape[1:]), "classes": classes}
        return cls(module.eval(), config)

    def log_p(self, images: Tensor, y: Tensor) -> Tensor:
        """Log probabilities [b] of classes y, of images [b, c, height, width] in [-1, 1]."""
        pixels = (images.float().permute(0, 2, 3, 1) + 1) * 127.5
        logits: Tensor = self.module(pixels).float()
        return logits.log_softmax(1).gather(1, y[:, None])[:, 0]

    def save(self, folder: Path) -> None:
        (folder / FOLDER).mkdir()
        save_weights(self.module, folder / FOLDER, self.config)

    @classmethod
    def load(cls, folder: Path) -> Solver:
        return cls(*load_weights(folder / FOLDER, _build))


def _build(config: JsonObject) -> classifiers.ImageClassifier:
    return classifiers.of_images(config["network"], tuple(config["shape"]), config["classes"])
