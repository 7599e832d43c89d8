"""The classifiers behind features, classifier accuracy and rewards, and how they are trained:
LeNet-5 (LeCun et al. 1998) with rectifiers, ResNet-18 (He et al. 2016), an MLP for points.

They learn from the data at hand alone: the ResNet-18 here is not the ImageNet network of extractor
"resnet18".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.samples import Samples
from engine.training.device import device, seeded, tensor
from engine.training.loop import Training, Turn, refuse_non_finite_data, train
from engine.training.progress import pieces
from engine.training.stacked import Standardise, stacked_mlp

BATCH_OUT = 1024  # images at a time when nothing is learnt


class LeNet(nn.Module):
    """LeNet-5: uint8 [n, height, width, channels] -> logits [n, classes].

    Its 84 penultimate values are the features that MAD (2307.01850) uses for MNIST.  Images larger
    than 32 pixels are reduced to 32; images smaller than 28 (8 x 8 digits) get 3 x 3 kernels, since
    5 x 5 ones would leave nothing.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        height, width, channels = shape
        self.small = min(height, width) < 28
        self.reduced = (min(height, 32), min(width, 32))
        kernel, pad = (3, 1) if self.small else (5, 2 if self.reduced[0] < 32 else 0)
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, 16 if self.small else 6, kernel, padding=pad),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16 if self.small else 6, 16, kernel, padding=1 if self.small else 0),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        with torch.no_grad():
            n_flat = self.convolutions(torch.zeros(1, channels, *self.reduced)).shape[1]
        self.dense = nn.Sequential(nn.Linear(n_flat, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU())
        self.head = nn.Linear(84, classes)

    def features(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1  # [n, channels, height, width]
        if x.shape[2:] != self.reduced:
            x = functional.interpolate(x, self.reduced, mode="bilinear", antialias=True)
        out: Tensor = self.dense(self.convolutions(x))  # [n, 84]
        return out

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(images))
        return out


class ResNet18(nn.Module):
    """ResNet-18 sized to the image: uint8 [n, height, width, channels] -> logits [n, classes].

    It is torchvision's network with a stem that leaves the first stage about 32 pixels: up to 32
    pixels the stem is a 3 x 3 convolution, up to 64 one of stride 2, neither with max pooling;
    larger images get torchvision's own stem.  One CPU core learns from about 50 images a second at
    32 pixels, and reads 165 (LeNet: thousands).
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        # torchvision takes seconds to import
        from engine._torchvision import torchvision

        super().__init__()
        height, width, channels = shape
        self.body = torchvision.models.resnet18(weights=None)
        if max(height, width) <= 64:
            stride = 1 if max(height, width) <= 32 else 2
            self.body.conv1 = nn.Conv2d(channels, 64, 3, stride=stride, padding=1, bias=False)
            self.body.maxpool = nn.Identity()
        elif channels != 3:
            self.body.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.body.fc = nn.Identity()
        self.head = nn.Linear(512, classes)

    def features(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1  # [n, channels, height, width]
        out: Tensor = self.body(x)  # [n, 512]
        return out

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(images))
        return out


class PointClassifier(nn.Module):
    """One hidden layer per replicate: points [n, replicates, d] -> logits [n, replicates,
    classes].
    """

    def __init__(self, replicates: int, d: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.standardise = Standardise(replicates, d)
        self.layers = stacked_mlp(replicates, (d, width, width, classes), nn.ReLU)

    def forward(self, points: Tensor) -> Tensor:
        z = self.standardise(points.transpose(0, 1).float())  # [replicates, n, d]
        out: Tensor = self.layers(z).transpose(0, 1)
        return out


ImageClassifier = LeNet | ResNet18


def fit(
    data: Samples,
    classes: int,
    rng: np.random.Generator,
    *,
    steps: int,
    batch: int = 128,
    lr: float = 2e-3,
    network: str = "lenet",
) -> ImageClassifier | PointClassifier:
    """Train a classifier of labelled images (lenet or resnet18) or points (a stacked MLP) by cross
    entropy.
    """
    if data.x.ndim == 3:
        return _fit_points(data, classes, rng, Training(steps=steps, batch=batch, decay=True), lr)
    with seeded(rng):
        model = of_images(network, data.x.shape[1:], classes)

    def loss(batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1])

    assert data.y is not None
    how = Training(steps=steps, batch=batch, decay=True)
    train([Turn(model, loss, lr=lr)], [data.x, data.y], rng, how)
    return model


def _fit_points(
    data: Samples, classes: int, rng: np.random.Generator, how: Training, lr: float
) -> PointClassifier:
    _, replicates, d = data.x.shape
    with seeded(rng):
        model = PointClassifier(replicates, d, classes)
    x = data.x.astype(np.float32)
    refuse_non_finite_data([x])
    model.standardise.learn(x)

    def loss(batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        logits, y = model(batch[0]), batch[1]
        losses = functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        return losses.view_as(y).mean(0)  # [replicates]

    assert data.y is not None
    train([Turn(model, loss, lr=lr)], [x, data.y], rng, replace(how, replicates=replicates))
    return model


def of_images(network: str, shape: tuple[int, ...], classes: int) -> ImageClassifier:
    """The untrained network by name, for images [height, width, channels]."""
    height, width, channels = shape
    kind = LeNet if network == "lenet" else ResNet18
    return kind((height, width, channels), classes)


def logits(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """[n, classes] of images, [n, replicates, classes] of points; float32."""
    return _in_batches(model, model.forward, x)


def features(model: ImageClassifier, x: np.ndarray) -> np.ndarray:
    """The penultimate layer, float32: [n, 84] of LeNet, [n, 512] of ResNet-18."""
    return _in_batches(model, model.features, x)


def _in_batches(
    model: nn.Module, function: Callable[[Tensor], Tensor], x: np.ndarray
) -> np.ndarray:
    model.to(device()).eval()
    with torch.inference_mode():
        parts = [function(tensor(x[piece], device())).cpu() for piece in pieces(len(x), BATCH_OUT)]
    return torch.cat(parts).numpy()
