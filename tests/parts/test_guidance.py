"""Guidance by a solver: exact where it can be, none at scale 0, and of the draw alone."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.generators._guidance import Solver, guided
from engine.generators._noise import Denoiser, integrate, signal_shares
from engine.generators.ddpm import Ddpm
from engine.lineage.recipe import path
from engine.refusals import refusals
from engine.registry import make
from engine.samples import Samples, given
from engine.spec import LineageSpec, Part
from engine.training import classifiers

SMALL: dict[str, Any] = {
    "steps": 3,
    "batch": 8,
    "channels": [8, 16],
    "attention": [],
    "sampling_steps": 4,
    "ema": 0.0,
}
BY_SOLVER: dict[str, Any] = {**SMALL, "guidance_by": "solver", "solver_steps": 5}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@cache
def real(n: int = 100) -> Samples:
    digits: Samples = make("dataset", "digits").sample(n, rng())
    return digits


# ---- what it comes to, where that is known -------------------------------------------------------


def of_gaussian(a: float, x: Tensor, mean: Tensor | float, sd: float) -> Tensor:
    """E[x_0 | x_t] for x_0 ~ N(mean, sd^2)."""
    out: Tensor = mean + sd**2 * a**0.5 / (a * sd**2 + 1 - a) * (x - a**0.5 * mean)
    return out


def drawn(denoiser: Denoiser, sampler: str, steps: int, n: int = 4000) -> tuple[Tensor, Tensor]:
    signal = signal_shares(1000, "cosine")
    z = torch.from_numpy(rng().standard_normal((n, 1, 1, 1)))
    return z, integrate(denoiser, z, sampler, steps, signal, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize(("sampler", "steps"), [("dpm-solver++", 40), ("ddim", 400)])
def test_a_log_linear_solver_tilts_a_gaussian_exactly(
    sampler: str, steps: int, scale: float
) -> None:
    """N(m, sd^2) exp(s c x), normalised, is N(m + s c sd^2, sd^2): every latent goes there, and the
    purity by the sign of x is Phi of mean over deviation.
    """
    mean, sd, slope = -0.1, 0.3, 2.0
    signal = signal_shares(1000, "cosine")

    def denoiser(x: Tensor, t: int) -> Tensor:
        a = float(signal[t])
        clean = partial(of_gaussian, a, mean=mean, sd=sd)
        return guided(clean, x, lambda x_0: slope * x_0.flatten(1).sum(1), a, scale)

    z, x = drawn(denoiser, sampler, steps)
    tilted = mean + scale * slope * sd**2
    assert float((x - (tilted + sd * z)).abs().max()) < 0.03 * sd * float(z.abs().max())
    purity = NormalDist().cdf(tilted / sd)
    assert abs(float((x > 0).double().mean()) - purity) < 4 * (0.25 / len(x)) ** 0.5 + 0.01


def test_an_exact_solver_of_a_mixture_makes_draws_purer() -> None:
    """Two Gaussians at -m and m and the true p(y|x): without it each is drawn half of the time,
    with it the wanted one; being asked about the expected image it is, if anything, too sure.
    """
    centre, sd = 0.5, 0.25
    signal = signal_shares(1000, "cosine")

    def clean(a: float, x: Tensor) -> Tensor:
        there = torch.sigmoid(2 * a**0.5 * centre * x / (a * sd**2 + 1 - a))  # p(m | x_t)
        own = [of_gaussian(a, x, side * centre, sd) for side in (1, -1)]
        return there * own[0] + (1 - there) * own[1]

    def says(x_0: Tensor) -> Tensor:
        out: Tensor = torch.nn.functional.logsigmoid(2 * centre * x_0 / sd**2).flatten(1).sum(1)
        return out

    def denoiser(scale: float, x: Tensor, t: int) -> Tensor:
        a = float(signal[t])
        return guided(partial(clean, a), x, says, a, scale)

    purity = []
    for scale in (0.0, 0.1, 1.0):
        _, x = drawn(partial(denoiser, scale), "dpm-solver++", 40, n=2000)
        purity.append(float((x > 0).double().mean()))
    assert purity[0] == pytest.approx(0.5, abs=0.03)
    assert purity[0] + 0.1 < purity[1] < purity[2]
    assert purity[2] > NormalDist().cdf(centre / sd) - 0.01, "at least that of the wanted Gaussian"


def test_scale_0_is_the_expected_image_to_the_bit() -> None:
    x = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    clean = partial(of_gaussian, 0.3, mean=0.1, sd=0.2)
    assert torch.equal(guided(clean, x, lambda x_0: x_0.flatten(1).sum(1), 0.3, 0.0), clean(x))


# ---- in the model --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_solver() -> Ddpm:
    model = Ddpm(**BY_SOLVER)
    model.fit(real(), rng(1))
    return model


def same_networks_with(model: Ddpm, **params: Any) -> Ddpm:
    other = Ddpm(**{**BY_SOLVER, **params})
    other.net_, other.solver_ = model.net_, model.solver_
    return other


def test_the_solver_changes_no_bit_of_the_network_and_none_of_a_draw_at_scale_0(
    by_solver: Ddpm,
) -> None:
    plain = Ddpm(**SMALL)
    plain.fit(real(), rng(1))
    unguided = plain.sample(6, rng(2), np.arange(6)).x
    still = same_networks_with(by_solver, guidance=0.0).sample(6, rng(2), np.arange(6)).x
    assert np.array_equal(still, unguided)
    pulled = [
        same_networks_with(by_solver, guidance=s).sample(6, rng(2), np.arange(6)).x
        for s in (0.5, 1.0)
    ]
    assert not np.array_equal(pulled[0], unguided) and not np.array_equal(pulled[0], pulled[1])
    assert np.array_equal(by_solver.sample(6, rng(2), np.arange(6)).x, pulled[1])


def test_the_solver_reads_images_as_a_classifier_does(by_solver: Ddpm) -> None:
    """And its log probabilities rise along their gradient."""
    solver, x = by_solver.solver_, real(100).x[:7]
    assert isinstance(solver, Solver)
    y = torch.arange(7) % 10
    images = (torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1).requires_grad_()
    log_p = solver.log_p(images, y)
    expected = torch.from_numpy(classifiers.logits(solver.module, x)).log_softmax(1)
    assert torch.allclose(log_p, expected[torch.arange(7), y], atol=1e-5)
    (gradient,) = torch.autograd.grad(log_p.sum(), images)
    assert (solver.log_p(images.detach() + 1e-2 * gradient, y) > log_p).all()


def test_what_is_saved_draws_the_same(by_solver: Ddpm, tmp_path: Path) -> None:
    by_solver.save(tmp_path)
    loaded = Ddpm(**BY_SOLVER)
    loaded.load(tmp_path)
    labels = np.arange(6)
    own, again = (model.sample(6, rng(3), labels) for model in (by_solver, loaded))
    assert np.array_equal(own.x, again.x) and own.y is not None and own.y.tolist() == [*range(6)]
    assert not (tmp_path / "unet" / "solver").exists() and (tmp_path / "solver").is_dir()


@pytest.mark.parametrize("shape", [(10, 12, 3), (7, 8, 1)])
def test_padding_is_not_shown_to_the_solver(shape: tuple[int, int, int]) -> None:
    x = rng().integers(0, 256, (12, *shape)).astype(np.uint8)
    model = Ddpm(**{**BY_SOLVER, "channels": [8, 8, 8]})
    model.fit(Samples(x, np.arange(12) % 3), rng())
    assert model.sample(3, rng()).x.shape == (3, *shape)


def keys(**params: Any) -> tuple[str, str]:
    spec = LineageSpec(
        Part("dataset", "digits"),
        Part("generator", "ddpm", params),
        Part("policy", "replace"),
        Part("sampling", "plain"),
        n_real=50,
        seed=0,
    )
    node = path(spec, 1)[0]
    return node.model, node.draw


def test_the_scale_is_in_the_key_of_the_draw_alone_and_the_solver_in_the_model_s() -> None:
    solver = {"guidance_by": "solver"}
    off, on, half, longer = (
        keys(),
        keys(**solver),
        keys(**solver, guidance=0.5),
        keys(**solver, solver_steps=500),
    )
    assert on[0] != off[0] and half[0] == on[0] and half[1] != on[1] and longer[0] != on[0]
    assert keys(guidance_by="none") == off


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"guidance": 0.5}, "guidance without guidance_by: solver"),
        ({"solver": "resnet18", "solver_steps": 5}, "solver, solver_steps without guidance_by"),
        ({"guidance_by": "solver", "conditional": False}, "leave conditional at true"),
    ],
)
def test_what_would_guide_nothing_is_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Ddpm(**params)


def test_a_solver_needs_labels() -> None:
    with pytest.raises(ValueError, match="needs class labels"):
        Ddpm(**BY_SOLVER).fit(Samples(real().x, None), rng())


def test_a_plan_refuses_a_solver_of_unlabelled_pictures(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", images=rng().integers(0, 256, (40, 8, 8, 1)).astype(np.uint8))
    data = Part("dataset", "images", {"path": str(tmp_path / "mine.npz")})
    found = refusals(data, Part("generator", "ddpm", BY_SOLVER), Part("sampling", "plain"))
    assert found == ["ddpm needs class labels, and the data set images has none"]
    assert not refusals(data, Part("generator", "ddpm", SMALL), Part("sampling", "plain"))


@pytest.mark.slow
def test_a_solver_makes_digits_purer_in_the_eyes_of_another_classifier() -> None:
    whole = make("dataset", "digits").sample(1200, rng())
    model = Ddpm(steps=200, sampling_steps=20, guidance_by="solver")
    model.fit(whole, rng(1))
    judge = classifiers.fit(whole, 10, rng(3), steps=200, lr=1e-2)
    accuracy = []
    for scale in (0.0, 1.0):
        other = Ddpm(steps=200, sampling_steps=20, guidance_by="solver", guidance=scale)
        other.net_, other.solver_ = model.net_, model.solver_
        x = other.sample(300, rng(2), given(whole, 300))
        accuracy.append(np.mean(classifiers.logits(judge, x.x).argmax(1) == x.y))
    assert accuracy[1] > accuracy[0] + 0.05
