"""What a decoder says of pixels: the density of intensities in [0, 1], its mean picture, a draw.

bernoulli             of bits; of grey levels a cross entropy, no density.
continuous_bernoulli  of grey levels: the same, normalised (Loaiza-Ganem and Cunningham 1907.06845).
gaussian              about the mean picture, one learnt deviation for all pixels (sigma-VAE, Rybkin
                      2006.13202).
optimal_gaussian      the same with the deviation in closed form, sigma^2 = the mean squared error
                      (Rybkin's optimal sigma-VAE): of the minibatch in training, then of the data.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.distributions import ContinuousBernoulli
from torch.nn import functional

LOG_2PI = math.log(2 * math.pi)
LEAST_LOG_SD = -math.log(
    255 * math.sqrt(12)
)  # of rounding to 256 levels: no picture is known better


def unit(images: Tensor) -> Tensor:
    """Intensities in [0, 1], [b, c, h, w], of images uint8 [b, h, w, c]."""
    return images.permute(0, 3, 1, 2).float() / 255


def log_root_mean_square(images: Tensor, decoded: Tensor) -> Tensor:
    """The log of Rybkin's optimal deviation: of the errors of all pixels, []."""
    mean_square = (unit(images) - torch.sigmoid(decoded.float())).square().mean()
    return 0.5 * torch.log(mean_square.clamp(min=math.exp(2 * LEAST_LOG_SD)))


def negative_log_density(
    likelihood: str, images: Tensor, decoded: Tensor, log_sd: Tensor | None
) -> Tensor:
    """-log p(x|z) in nats, [b], of images uint8 [b, h, w, c] by logits decoded [b, c, h, w]."""
    x, logits = unit(images), decoded.float()
    if log_sd is not None:
        log_sd = log_sd.clamp(min=LEAST_LOG_SD)
        z = (x - torch.sigmoid(logits)) * torch.exp(-log_sd)
        each = 0.5 * z.square() + log_sd + 0.5 * LOG_2PI
    elif likelihood == "continuous_bernoulli":
        each = -_continuous(logits).log_prob(x)
    else:
        each = functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return each.flatten(1).sum(1)


def mean_picture(likelihood: str, decoded: Tensor) -> np.ndarray:
    """The mean intensities, [b, h, w, c]."""
    logits = decoded.float()
    if likelihood == "continuous_bernoulli":
        return _channels_last(_continuous(logits).mean)
    return _channels_last(torch.sigmoid(logits))


def noisy_picture(
    likelihood: str, decoded: Tensor, log_sd: Tensor | None, rng: np.random.Generator
) -> np.ndarray:
    """A draw of the intensities of every pixel, [b, h, w, c]; a Gaussian's are cut at 0 and 1."""
    mean = _channels_last(torch.sigmoid(decoded.float()))
    if log_sd is not None:
        sd = math.exp(max(float(log_sd), LEAST_LOG_SD))
        noise = rng.standard_normal(mean.shape, dtype=np.float32)
        drawn: np.ndarray = np.clip(mean + np.float32(sd) * noise, 0, 1)
        return drawn
    if likelihood == "continuous_bernoulli":
        places = rng.random(mean.shape, dtype=np.float32).transpose(0, 3, 1, 2)
        own = torch.from_numpy(np.ascontiguousarray(places)).to(decoded.device)
        return _channels_last(_continuous(decoded.float()).icdf(own).clamp(0, 1))
    return np.where(rng.random(mean.shape) < mean, 1.0, 0.0)


def _continuous(logits: Tensor) -> ContinuousBernoulli:
    """Unchecked: what is not finite is found by the loop of training."""
    return ContinuousBernoulli(logits=logits, validate_args=False)


def _channels_last(x: Tensor) -> np.ndarray:
    values: np.ndarray = x.permute(0, 2, 3, 1).cpu().numpy()
    return values
