"""StyleGAN2 for images (Karras et al. 1912.04958), with labels and adaptive augmentation as
StyleGAN2-ADA (2006.06676).

Non-saturating logistic loss, lazy R1 on real images, optional path lengths, an average of the
generator's weights.  Not StyleGAN3, and not the published networks: the weights start from nothing
and the sizes are this project's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.files import JsonObject
from engine.generators._augment import augmented
from engine.generators._labels import label_counts, labels_for, same_networks
from engine.generators._stylegan2 import Discriminator, StyleGenerator
from engine.parts import Bands, Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from engine.samples import Samples
from engine.training.device import device, seed, seeded, tensor
from engine.training.loop import Training, Turn, train
from engine.training.progress import pieces
from engine.training.weights import load_weights, save_weights

BATCH_OUT = 128  # samples drawn at a time
MEAN_OF = 2000  # latents whose w are averaged, for each class
PATH_DECAY = 0.01  # of the running mean of path lengths, per look
SIGN_DECAY = 0.1  # of the running mean of the discriminator's signs on real images, per step
PIXELS_WEIGHT = 0.01  # of R1 per pixel: the weight grows with the area, as in StyleGAN2-ADA
SIZES: dict[
    str, dict[str, int]
] = {  # channels at a resolution: channels / resolution, at most channels_max
    "tiny": {"channels": 512, "channels_max": 64, "latent": 64, "mapping_layers": 2, "batch": 16},
    "32": {"channels": 4096, "channels_max": 256, "latent": 256, "mapping_layers": 2, "batch": 64},
    "64": {"channels": 8192, "channels_max": 256, "latent": 256, "mapping_layers": 4, "batch": 32},
}


class Stylegan2:
    """uint8 [n, h, w, c] of any size: pictures are padded to a square with a power of two as its
    side, and cut out again.

    size            preset of the next five numbers where they are None: tiny (8 to 32 pixels, on a
                    CPU), or for 32 or 64 pixels.
    channels        of the feature maps at a resolution, times that resolution; None: 512 (tiny),
                    4096 (32), 8192 (64).
    channels_max    most channels of a feature map; None: 64 (tiny), 256 (32, 64).
    latent          length of the latents z and of the styles w; None: 64 (tiny), 256 (32, 64).
    mapping_layers  layers from z to w; None: 2 (tiny, 32), 4 (64).
    batch           images per step; None: 16 (tiny), 64 (32), 32 (64).
    steps           training steps of a fit, each an update of both networks (MNIST: digits from
                    1600 on).
    lr              Adam's learning rate for both networks.
    betas           Adam's two decays of its running means, each below 1.
    r1_weight       gamma of the R1 penalty; 0: none; None: pixels / 100, for short runs (with 3,
                    MNIST collapses).
    r1_every        steps between two R1 penalties, whose weight is multiplied by it.
    path_weight     of the path length penalty (the paper: 2); 0: none.
    path_every      steps between two path length penalties, whose weight is multiplied by it.
    augment         none, or ada: adaptive augmentation, for a few thousand images or less, where
                    discriminators overfit.
    augment_target  mean sign of the discriminator on real images to which ada steers its
                    probability: a larger one augments less.
    augment_images  real images seen while ada's probability may move from 0 to 1.
    flip            mirror images, too, under ada; for pictures without a left and right.
    ema             decay per step of the average of the weights, which is what is kept, below 1; 0:
                    the last weights.
    conditional     learn and draw by class label, where the data have labels; false: labels are not
                    looked at.
    warm_start      go on from the two networks of the generation before, where they are of the same
                    shape, instead of from new weights.
    precision       number format of training: no (float32), tf32 or bf16, each faster on a GPU and
                    coarser.
    """

    ACCEPTS = ("images",)
    CONDITIONAL = "conditional"
    CONTINUES = "warm_start"
    COST = "large"
    VARIANCE: ClassVar[Bands] = {"images": (0.5, 0.95)}  # of digits, from 300 steps on
    TINY = {
        "steps": 3,
        "batch": 8,
        "channels": 32,
        "channels_max": 8,
        "latent": 8,
        "path_weight": 2.0,
        "augment": "ada",
    }

    def __init__(
        self,
        *,
        size: Literal["tiny", "32", "64"] = "tiny",
        channels: PositiveInt | None = None,
        channels_max: PositiveInt | None = None,
        latent: PositiveInt | None = None,
        mapping_layers: PositiveInt | None = None,
        batch: PositiveInt | None = None,
        steps: PositiveInt = 3000,
        lr: PositiveFloat = 2.5e-3,
        betas: tuple[Fraction, Fraction] = (0.0, 0.99),
        r1_weight: NonNegativeFloat | None = None,
        r1_every: PositiveInt = 16,
        path_weight: NonNegativeFloat = 0.0,
        path_every: PositiveInt = 4,
        augment: Literal["none", "ada"] = "none",
        augment_target: Fraction = 0.6,
        augment_images: PositiveInt = 100_000,
        flip: bool = False,
        ema: Fraction = 0.995,
        conditional: bool = True,
        warm_start: bool = False,
        precision: Literal["no", "tf32", "bf16"] = "no",
    ) -> None:
        if ema == 1:
            raise ValueError(
                "ema=1.0 would never learn; allowed: 0 (off) up to just below 1, such as 0.995"
            )
        if max(betas) == 1:
            raise ValueError(
                f"betas must be below 1, got {list(betas)}; Adam's usual ones are [0.0, 0.99] here"
            )
        own = {
            "channels": channels,
            "channels_max": channels_max,
            "latent": latent,
            "mapping_layers": mapping_layers,
        }
        own["batch"] = batch
        self.numbers = SIZES[size] | {
            name: value for name, value in own.items() if value is not None
        }
        self.steps, self.batch, self.lr, self.betas = (
            steps,
            self.numbers.pop("batch"),
            lr,
            tuple(betas),
        )
        self.r1_weight, self.r1_every, self.path_weight, self.path_every = (
            r1_weight,
            r1_every,
            path_weight,
            path_every,
        )
        self.augment, self.augment_target, self.augment_images, self.flip = (
            augment,
            augment_target,
            augment_images,
            flip,
        )
        self.ema, self.conditional, self.warm_start, self.precision = (
            ema,
            conditional,
            warm_start,
            precision,
        )
        self.model_: Any = None  # nn.ModuleDict of `generator` and `discriminator`
        self.config_: JsonObject = {}

    # ---- training ----

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        y = data.y if self.conditional else None
        config = {
            "shape": list(data.x.shape[1:]),
            "label_counts": label_counts(y, data),
            **self.numbers,
        }
        with seeded(rng):
            fresh = _build({**config, "discriminator": True})
        if self.model_ is None or not self.warm_start or not same_networks(config, self.config_):
            self.model_ = fresh
        self.config_ = config
        arrays = [_framed(data.x)] if y is None else [_framed(data.x), y]
        how = Training(steps=self.steps, batch=self.batch, precision=self.precision, ema=self.ema)
        report = train(self._turns(), arrays, rng, how)
        z = tensor(
            rng.standard_normal((MEAN_OF, self.numbers["latent"]), dtype=np.float32), device()
        )
        self.model_.generator.mapping.learn_mean(z)
        return report | (
            {"augment_p": float(self.model_.discriminator.augment_p)}
            if self.augment == "ada"
            else {}
        )

    def _turns(self) -> list[Turn]:
        generator, discriminator = self.model_.generator, self.model_.discriminator
        how: dict[str, Any] = {"lr": self.lr, "betas": self.betas}
        turns = [Turn(discriminator, self._discriminator_loss, name="discriminator", **how)]
        if self.r1_weight != 0:
            turns += [Turn(discriminator, self._r1, every=self.r1_every, name="r1", **how)]
        turns += [Turn(generator, self._generator_loss, name="generator", **how)]
        if self.path_weight:
            turns += [Turn(generator, self._path_loss, every=self.path_every, name="path", **how)]
        return turns

    def _discriminator_loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        """-E log D(real) - E log(1 - D(fake)), D the logistic function of the logit."""
        with torch.no_grad():
            fake = self._fake(batch, noise)
        on_fake, on_real = (
            self._judged(fake, batch, noise),
            self._judged(_signed(batch[0]), batch, noise),
        )
        if self.augment == "ada":
            self._adapt(on_real.detach())
        return functional.softplus(on_fake).mean() + functional.softplus(-on_real).mean()

    def _generator_loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        """-E log D(fake)."""
        return functional.softplus(-self._judged(self._fake(batch, noise), batch, noise)).mean()

    def _r1(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        """gamma / 2 E |gradient of the logit at real images|^2,
        times the steps between two looks.
        """
        with torch.autocast(batch[0].device.type, enabled=False):
            real = _signed(batch[0]).requires_grad_()
            logit = self._judged(real, batch, noise)
            (gradient,) = torch.autograd.grad(logit.sum(), real, create_graph=True)
            gamma = PIXELS_WEIGHT * real[0, 0].numel() if self.r1_weight is None else self.r1_weight
            return 0.5 * gamma * self.r1_every * gradient.square().sum((1, 2, 3)).mean()

    def _path_loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        """E (|J^T v| - a)^2: J of the picture by w, v normal pixels, a the running mean of these
        lengths.
        """
        generator: StyleGenerator = self.model_.generator
        with torch.autocast(batch[0].device.type, enabled=False):
            z, pixels = self._normals(len(batch[0]), noise)
            w = generator.mapping(z, _labels(batch))
            image = generator.draw(w, pixels)
            v = torch.empty_like(image).normal_(generator=noise) * image.shape[-1] ** -1
            (gradient,) = torch.autograd.grad((image * v).sum(), w, create_graph=True)
            length = gradient.square().sum(1).sqrt()  # [b]
            generator.path_mean.lerp_(length.detach().mean(), PATH_DECAY)
            out: Tensor = (
                self.path_weight * self.path_every * (length - generator.path_mean).square().mean()
            )
            return out

    def _fake(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        z, pixels = self._normals(len(batch[0]), noise)
        out: Tensor = self.model_.generator(z, _labels(batch), pixels)
        return out

    def _normals(self, n: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents [n, latent], and the noise of every layer [n, sum of noise_sizes]."""
        lengths = self.numbers["latent"], sum(self.model_.generator.noise_sizes)
        z, pixels = (
            torch.empty(n, length, device=noise.device).normal_(generator=noise)
            for length in lengths
        )
        return z, pixels

    def _judged(self, images: Tensor, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        """Logits [b] of images in [-1, 1], augmented if that is asked for."""
        discriminator: Discriminator = self.model_.discriminator
        if self.augment == "ada":
            images = augmented(images.float(), discriminator.augment_p, noise, self.flip)
        out: Tensor = discriminator(images, _labels(batch))
        return out

    @torch.no_grad()
    def _adapt(self, on_real: Tensor) -> None:
        """More augmentation while real images are told too surely, less otherwise."""
        discriminator: Discriminator = self.model_.discriminator
        discriminator.real_sign.lerp_(on_real.sign().mean(), SIGN_DECAY)
        step = torch.sign(discriminator.real_sign - self.augment_target) * (
            len(on_real) / self.augment_images
        )
        discriminator.augment_p.add_(step).clamp_(0, 1)

    # ---- drawing ----

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """bias is psi: w drawn in towards the mean of its class (truncation).

        Sample i depends on rng and its label only.
        """
        assert self.model_ is not None, "fit or load comes first"
        y = labels_for(n, labels, self.config_["label_counts"])
        of_pixels = np.random.default_rng(seed(rng))
        z = rng.standard_normal((n, self.config_["latent"]), dtype=np.float32)
        x = [
            self._drawn(z[c], None if y is None else y[c], of_pixels, bias)
            for c in pieces(n, BATCH_OUT)
        ]
        return Samples(np.concatenate(x), y)

    @torch.inference_mode()
    def _drawn(
        self, z: np.ndarray, y: np.ndarray | None, rng: np.random.Generator, bias: float | None
    ) -> np.ndarray:
        generator: StyleGenerator = self.model_.generator
        on = device()
        pixels = rng.standard_normal((len(z), sum(generator.noise_sizes)), dtype=np.float32)
        label = None if y is None else tensor(y, on)
        w = generator.mapping(tensor(z, on), label)
        if bias is not None and bias != 1:
            w = generator.mapping.truncated(w, label, bias)
        image = (
            generator.draw(w, tensor(pixels, on))
            .float()
            .clamp(-1, 1)
            .permute(0, 2, 3, 1)
            .cpu()
            .numpy()
        )
        height, width = self.config_["shape"][:2]
        top, left = (
            (side - part) // 2 for side, part in zip(image.shape[1:3], (height, width), strict=True)
        )
        return np.rint((image[:, top : top + height, left : left + width] + 1) * 127.5).astype(
            np.uint8
        )

    def save(self, folder: Path) -> None:
        """The discriminator is kept only where the next generation goes on from it."""
        assert self.model_ is not None, "fit or load comes first"
        kept = nn.ModuleDict(
            {
                name: self.model_[name]
                for name in self.model_
                if name == "generator" or self.warm_start
            }
        )
        save_weights(kept, folder, {**self.config_, "discriminator": "discriminator" in kept})

    def load(self, folder: Path) -> None:
        self.model_, self.config_ = load_weights(folder, _build)
        del self.config_["discriminator"]


def _build(config: JsonObject) -> nn.ModuleDict:
    channels, classes = config["shape"][2], len(config["label_counts"])
    sides = [4]
    while sides[-1] < max(8, *config["shape"][:2]):
        sides.append(2 * sides[-1])
    widths = [max(1, min(config["channels_max"], config["channels"] // side)) for side in sides]
    networks: dict[str, nn.Module] = {
        "generator": StyleGenerator(
            widths, channels, config["latent"], classes, config["mapping_layers"]
        )
    }
    if config["discriminator"]:
        networks["discriminator"] = Discriminator(widths, channels, classes)
    return nn.ModuleDict(networks)


def _framed(x: np.ndarray) -> np.ndarray:
    """Pictures in the middle of black squares [n, side, side, c] whose side is a power of two, at
    least 8.
    """
    height, width = x.shape[1:3]
    side = max(8, 1 << (max(height, width) - 1).bit_length())
    top, left = (side - height) // 2, (side - width) // 2
    return np.pad(x, ((0, 0), (top, side - height - top), (left, side - width - left), (0, 0)))


def _signed(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1  # [b, c, h, w]


def _labels(batch: tuple[Tensor, ...]) -> Tensor | None:
    return batch[1] if len(batch) > 1 else None
