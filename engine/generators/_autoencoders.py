"""The networks of the variational autoencoder: convolutional for images, an MLP for points."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.generators import _pixels as pixels
from engine.training.device import tensor
from engine.training.stacked import Standardise, stacked_mlp

# of a one-hot label; at 1 the first thousand steps on MNIST hardly read it (43 % right digits, 93 %
# here)
LABEL_LENGTH = 10.0


class ImageVae(nn.Module):
    """As many convolutions down as up (kernel 4, stride 2).  x is uint8 [b, h, w, c], y [b].

    likelihood  of pixels where it is neither bernoulli nor gaussian: see _pixels.py.
    """

    def __init__(
        self,
        shape: list[int],
        classes: int,
        latent: int,
        width: int,
        halvings: int = 2,
        gaussian: bool = False,
        likelihood: str = "",
    ) -> None:
        super().__init__()
        self.likelihood = likelihood or ("gaussian" if gaussian else "bernoulli")
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
        self.log_sd: Tensor | None = None
        if self.likelihood == "gaussian":  # large: the picture comes before its details
            self.log_sd = nn.Parameter(torch.tensor(-1.5))
        elif self.likelihood == "optimal_gaussian":
            del self.log_sd
            self.register_buffer("log_sd", torch.tensor(-1.5))

    def encode(self, images: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, [b, latent] each."""
        flat = self.down(pixels.unit(images))
        mean, log_variance = self.to_latent(_beside(flat, y, self.classes)).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Logits of the pixels, [b, channels, height, width]."""
        flat = functional.gelu(self.from_latent(_beside(z, y, self.classes)))
        out: Tensor = self.up(flat.unflatten(1, self.small))
        return out

    def reconstruction(self, images: Tensor, decoded: Tensor) -> Tensor:
        """-log p(x|z) in nats, [b]; Gaussian: the density of intensities in [0, 1]."""
        log_sd = self.log_sd
        if self.likelihood == "optimal_gaussian" and self.training:
            log_sd = pixels.log_root_mean_square(images, decoded)
        return pixels.negative_log_density(self.likelihood, images, decoded, log_sd)

    def draw(self, decoded: Tensor, rng: np.random.Generator, noisy: bool) -> np.ndarray:
        """The mean picture, or a draw of every pixel about it: uint8 [b, h, w, c]."""
        if noisy:
            x = pixels.noisy_picture(self.likelihood, decoded, self.log_sd, rng)
        else:
            x = pixels.mean_picture(self.likelihood, decoded)
        values: np.ndarray = np.rint(x * 255).astype(np.uint8)
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
        each = (
            0.5 * z.square() + self.log_sd + 0.5 * pixels.LOG_2PI + torch.log(self.standardise.sd)
        )
        out: Tensor = each.sum(-1)
        return out

    def draw(self, decoded: Tensor, rng: np.random.Generator, noisy: bool) -> np.ndarray:
        """float32 [b, replicates, d]."""
        if not noisy:
            return self.standardise.inverse(decoded).transpose(0, 1).cpu().numpy()
        noise = tensor(
            rng.standard_normal(decoded.transpose(0, 1).shape, dtype=np.float32), decoded.device
        )
        x = self.standardise.inverse(decoded + noise.transpose(0, 1) * torch.exp(self.log_sd))
        return x.transpose(0, 1).cpu().numpy()


def _beside(x: Tensor, y: Tensor | None, classes: int) -> Tensor:
    return (
        x
        if y is None
        else torch.cat([x, LABEL_LENGTH * functional.one_hot(y, classes).to(x.dtype)], dim=-1)
    )


def _across(y: Tensor | None, x: Tensor) -> Tensor | None:
    """Labels [b], shared by the replicates, or [b, replicates] -> [replicates, b]."""
    return None if y is None else (y.T if y.ndim == 2 else y.expand(x.shape[0], -1))
