"""The noise of diffusion and how it is walked back: Ho's schedule and the cosine one, and samplers
that step evenly in the logarithm of the signal-to-noise ratio (why: see ddpm).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)  # isort: skip
from torch import Tensor

BATCH_OUT = 256  # images drawn at a time
# where few-step samplers begin: DPM-Solver's advice for the cosine schedule, where less is only
# noise
LEAST_LOG_SNR = -10.2
Denoiser = Callable[[Tensor, int], Tensor]  # (x_t, t) -> the expected x_0


def schedule_of(timesteps: int, schedule: str) -> dict[str, Any]:
    """As diffusers names them; fewer steps are larger ones, so that the last image is noise all the
    same.
    """
    if schedule == "cosine":
        return {"num_train_timesteps": timesteps, "beta_schedule": "squaredcos_cap_v2"}
    each = 1000 / timesteps
    return {
        "num_train_timesteps": timesteps,
        "beta_schedule": "linear",
        "beta_start": 1e-4 * each,
        "beta_end": 0.02 * each,
    }


def signal_shares(timesteps: int, schedule: str) -> np.ndarray:
    """The variance share of the image in x_t, Ho's alpha bar: float64 [timesteps], falling."""
    scheduler: Any = DDPMScheduler(**schedule_of(timesteps, schedule))
    values: np.ndarray = scheduler.alphas_cumprod.double().numpy()
    return values


def sampling_times(steps: int, signal: np.ndarray) -> np.ndarray:
    """That many different times, falling, evenly spaced in log SNR as far as whole numbers allow;
    all where steps is all.
    """
    log_snr = np.log(signal) - np.log1p(-signal)  # [timesteps], falling
    wanted = np.linspace(log_snr[0], max(log_snr[-1], LEAST_LOG_SNR), steps)
    i = np.arange(steps)
    t = np.interp(-wanted, -log_snr, np.arange(len(signal))).round().astype(int)
    t = (
        np.maximum.accumulate(t - i) + i
    )  # near the image times lie far apart in SNR, and none is taken twice
    values: np.ndarray = np.minimum(t, len(signal) - steps + i)[::-1].copy()
    return values


def integrate(
    denoiser: Denoiser,
    x: Tensor,
    sampler: str,
    steps: int,
    signal: np.ndarray,
    noise: torch.Generator,
) -> Tensor:
    """From noise x [b, c, height, width] to images, by any of the samplers."""
    times = sampling_times(steps, signal)
    if sampler in ("ddpm", "ddim"):
        return _ancestral(denoiser, x, times, signal, noise if sampler == "ddpm" else None)
    kind: Any = {"dpm-solver++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}[
        sampler
    ]
    solver = kind(num_train_timesteps=len(signal), prediction_type="sample")
    solver.num_inference_steps, solver.timesteps = (
        steps,
        torch.from_numpy(times),
    )  # instead of set_timesteps
    solver.sigmas = torch.from_numpy(np.append(np.sqrt(1 / signal[times] - 1), 0.0)).float()
    for t in solver.timesteps:
        x = solver.step(denoiser(x, int(t)), t, x, return_dict=False)[0]
    return x


def _ancestral(
    denoiser: Denoiser,
    x: Tensor,
    times: np.ndarray,
    signal: np.ndarray,
    noise: torch.Generator | None,
) -> Tensor:
    """DDIM's equations 12 and 16: with noise (eta = 1) Ho's ancestral sampling with the posterior
    variance, without it DDIM.

    Noise is drawn for BATCH_OUT images whatever is needed, so that an image does not depend on how
    many are asked for.
    """
    for t, a, later in zip(times, signal[times], np.append(signal[times][1:], 1.0), strict=True):
        x_0 = denoiser(x, int(t))
        epsilon = (x - a**0.5 * x_0) / (1 - a) ** 0.5
        variance = 0.0 if noise is None else (1 - later) / (1 - a) * (1 - a / later)
        x = later**0.5 * x_0 + max(0.0, 1 - later - variance) ** 0.5 * epsilon
        if noise is not None:
            fresh = torch.empty(max(BATCH_OUT, len(x)), *x.shape[1:], device=x.device).normal_(
                generator=noise
            )
            x = x + variance**0.5 * fresh[: len(x)]
    return x
