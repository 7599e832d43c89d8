"""What a sampler changes by itself: with an exact network every method draws a Gaussian of a known
deviation, pinned for each number of steps, and what parts declare of coarse ones is that.

For data N(0, sd^2) the best denoiser and the best velocity are linear in x_t, so nothing is learnt.
"""

from __future__ import annotations

from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from torch import Tensor

from engine._drawn_variance import at, expected
from engine.generators import _noise, ddpm, flow_matching
from engine.spec import Part

WIDE = (1.0, 0.5, 0.2, 0.1)  # deviations that COARSE speaks of
SDS = (1.0, 0.1, 0.02)  # of the data, in units of the noise's; images lie in -1 to 1
# (sampler, steps): the drawn deviation over that of the data, at each of SDS
COSINE = {
    ("ddpm", 10): (0.628, 0.628, 0.624),
    ("ddpm", 20): (0.784, 0.783, 0.763),
    ("ddpm", 50): (0.905, 0.903, 0.866),
    ("ddpm", 100): (0.951, 0.951, 0.887),
    ("ddpm", 1000): (0.998, 0.980, 0.889),
    ("ddim", 10): (0.754, 0.753, 0.737),
    ("ddim", 20): (0.875, 0.874, 0.843),
    ("ddim", 50): (0.950, 0.948, 0.907),
    ("ddim", 100): (0.975, 0.973, 0.923),
    ("ddim", 1000): (0.999, 0.992, 0.927),
    ("dpm-solver++", 10): (1.038, 1.008, 0.891),
    ("dpm-solver++", 20): (1.016, 1.012, 0.948),
    ("dpm-solver++", 50): (1.003, 1.001, 0.954),
    ("dpm-solver++", 100): (1.001, 0.999, 0.956),
    ("dpm-solver++", 1000): (1.000, 0.999, 0.956),
    ("unipc", 10): (1.053, 1.043, 0.924),
    ("unipc", 20): (1.011, 1.009, 0.962),
    ("unipc", 50): (1.001, 0.999, 0.955),
    ("unipc", 100): (1.000, 0.998, 0.955),
    ("unipc", 1000): (1.000, 0.998, 0.955),
}
LINEAR = {
    ("ddpm", 10): (0.641, 0.643, 0.615),
    ("ddpm", 20): (0.792, 0.787, 0.739),
    ("ddpm", 50): (0.909, 0.906, 0.812),
    ("ddpm", 100): (0.953, 0.951, 0.817),
    ("ddpm", 1000): (0.996, 0.963, 0.817),
    ("ddim", 10): (0.765, 0.764, 0.718),
    ("ddim", 20): (0.881, 0.876, 0.805),
    ("ddim", 50): (0.952, 0.948, 0.855),
    ("ddim", 100): (0.976, 0.972, 0.862),
    ("ddim", 1000): (0.998, 0.983, 0.862),
    ("dpm-solver++", 10): (1.036, 0.997, 0.826),
    ("dpm-solver++", 20): (1.015, 1.010, 0.882),
    ("dpm-solver++", 50): (1.002, 0.997, 0.896),
    ("dpm-solver++", 100): (1.001, 0.996, 0.897),
    ("dpm-solver++", 1000): (1.000, 0.997, 0.897),
    ("unipc", 10): (1.050, 1.034, 0.850),
    ("unipc", 20): (1.009, 1.008, 0.894),
    ("unipc", 50): (1.001, 0.996, 0.897),
    ("unipc", 100): (1.000, 0.996, 0.897),
    ("unipc", 1000): (1.000, 0.996, 0.897),
}
SOLVERS = {
    ("euler", 5): (0.698, 0.671, 0.406),
    ("euler", 10): (0.838, 0.816, 0.682),
    ("euler", 20): (0.916, 0.903, 0.818),
    ("euler", 50): (0.966, 0.960, 0.922),
    ("euler", 100): (0.983, 0.980, 0.960),
    ("heun", 5): (1.014, 1.183, 1.535),
    ("heun", 10): (1.006, 1.045, 1.213),
    ("heun", 20): (1.002, 1.011, 1.052),
    ("heun", 50): (1.000, 1.002, 1.008),
    ("heun", 100): (1.000, 1.000, 1.002),
    ("midpoint", 5): (0.996, 0.975, 0.875),
    ("midpoint", 10): (1.000, 0.997, 0.970),
    ("midpoint", 20): (1.000, 1.000, 0.996),
    ("midpoint", 50): (1.000, 1.000, 1.000),
    ("midpoint", 100): (1.000, 1.000, 1.000),
}


def of_sampler(sampler: str, steps: int, schedule: str, sds: tuple[float, ...]) -> list[float]:
    """Drawn over true deviation with the exact denoiser, one channel for each deviation."""
    signal = _noise.signal_shares(1000, schedule)
    sd = torch.tensor(sds, dtype=torch.float64)[:, None, None]  # [k, 1, 1]

    def denoiser(x: Tensor, t: int) -> Tensor:
        a = signal[t]
        return sd**2 * a**0.5 / (a * sd**2 + 1 - a) * x

    n = 40_000 if sampler == "ddpm" else 2  # all others are deterministic, so linear in x
    z = torch.randn(n // 2, len(sds), 1, 1, generator=torch.Generator().manual_seed(0))
    z = torch.cat([z, -z]).double() if sampler == "ddpm" else torch.ones(2, len(sds), 1, 1).double()
    z = z / z.square().mean(0).sqrt()
    x = _noise.integrate(denoiser, z, sampler, steps, signal, torch.Generator().manual_seed(1))
    return [float(r) for r in (x.square().mean(0).sqrt() / sd).flatten()]


def of_solver(solver: str, steps: int, sds: tuple[float, ...]) -> list[float]:
    """Drawn over true deviation with the exact velocity."""
    sd = torch.tensor(sds, dtype=torch.float64)

    def velocity(x: Tensor, t: float) -> Tensor:
        return (sd**2 * t - (1 - t)) / ((1 - t) ** 2 + (sd * t) ** 2) * x

    return [float(r) for r in flow_matching.integrate(velocity, sd / sd, solver, steps).abs() / sd]


@pytest.mark.parametrize(("sampler", "steps"), COSINE)
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_sampler_with_an_exact_denoiser_draws_the_pinned_deviation(
    sampler: str, steps: int, schedule: str
) -> None:
    pins = {"cosine": COSINE, "linear": LINEAR}[schedule][sampler, steps]
    assert of_sampler(sampler, steps, schedule, SDS) == pytest.approx(pins, abs=0.02)


@pytest.mark.parametrize(("solver", "steps"), SOLVERS)
def test_a_solver_with_an_exact_velocity_draws_the_pinned_deviation(
    solver: str, steps: int
) -> None:
    assert of_solver(solver, steps, SDS) == pytest.approx(SOLVERS[solver, steps], abs=0.02)


def test_every_sampler_and_solver_that_is_offered_is_pinned() -> None:
    samplers = get_args(get_type_hints(ddpm.Ddpm.__init__)["sampler"])
    solvers = get_args(get_type_hints(flow_matching.FlowMatching.__init__)["solver"])
    assert {name for name, _ in COSINE} == {name for name, _ in LINEAR} == set(samplers)
    assert {name for name, _ in SOLVERS} == set(solvers)


# ---- what is declared ----------------------------------------------------------------------------


def furthest(sds: list[float]) -> float:
    """Of ratios of deviations the variance ratio that is furthest from 1."""
    return max((r**2 for r in sds), key=lambda v: abs(np.log(v)))


@pytest.mark.parametrize("sampler", ddpm.Ddpm.COARSE[2])
def test_what_a_coarse_sampler_leaves_is_declared(sampler: str) -> None:
    left = ddpm.Ddpm.COARSE[2][sampler]
    for steps in (*left, 6, 8, 15, 30, 70):
        if steps <= max(left):
            true = furthest(of_sampler(sampler, steps, "cosine", WIDE))
            assert at(left, steps) == pytest.approx(true, abs=0.03)


@pytest.mark.parametrize("solver", flow_matching.FlowMatching.COARSE[2])
def test_what_a_coarse_solver_leaves_is_declared(solver: str) -> None:
    left = flow_matching.FlowMatching.COARSE[2][solver]
    for steps in (*left, 7, 15, 30, 70):
        if steps <= max(left):
            true = furthest(of_solver(solver, steps, WIDE))
            assert at(left, steps) == pytest.approx(true, abs=0.03)


@pytest.mark.parametrize(
    ("name", "params", "low", "words"),
    [
        ("ddpm", {"sampler": "ddpm"}, 0.61, "sampler ddpm and sampling_steps 20 draws 0.61"),
        ("ddpm", {"sampler": "ddim", "sampling_steps": 99}, 0.95, "ddim"),
        ("flow_matching", {"solver": "euler"}, 0.67, "solver euler"),
    ],
)
def test_a_coarse_sampler_is_told_with_its_ratio(
    name: str, params: dict[str, object], low: float, words: str
) -> None:
    found = expected(Part("generator", name, params), "images")
    assert found is not None and found.low == found.high == pytest.approx(low, abs=0.005)
    assert words in found.words


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("ddpm", {}),
        ("ddpm", {"sampler": "ddim", "sampling_steps": 100}),
        ("ddpm", {"sampling_steps": 10}),
        ("flow_matching", {}),
        ("flow_matching", {"solver": "heun", "sampling_steps": 10}),
        ("gaussian", {}),
    ],
)
def test_of_fine_samplers_nothing_is_told(name: str, params: dict[str, object]) -> None:
    assert expected(Part("generator", name, params), "images") is None
