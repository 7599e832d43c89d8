"""Flow matching: its solvers have their order, its pairs are optimal within classes, its field
carries noise to the data.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.generators import flow_matching
from engine.generators.flow_matching import FlowMatching, integrate, paired
from engine.registry import make
from engine.samples import Samples

SMALL: dict[str, Any] = {
    "steps": 3,
    "batch": 8,
    "channels": [8, 16],
    "attention": [],
    "sampling_steps": 2,
    "ema": 0.0,
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(shape: tuple[int, int, int], labelled: bool = True, n: int = 24) -> Samples:
    return Samples(
        rng().integers(0, 256, (n, *shape)).astype(np.uint8), np.arange(n) % 3 if labelled else None
    )


@pytest.fixture(scope="module")
def fitted() -> FlowMatching:
    model = FlowMatching(**SMALL)
    model.fit(pictures((8, 8, 1)), rng(1))
    return model


# ---- solvers, on a case with a known answer ------------------------------------------------------


def worst(solver: str, steps: int, sd: float = 0.2, mean: float = 0.5) -> float:
    """How far the exact field of N(mean, sd^2) misses mean + sd z, in units of sd."""

    def velocity(x: Tensor, t: float) -> Tensor:
        variance = (1 - t) ** 2 + (sd * t) ** 2
        return mean + (sd**2 * t - (1 - t)) / variance * (x - mean * t)

    z = torch.linspace(-2, 2, 9, dtype=torch.float64)
    return float((integrate(velocity, z, solver, steps) - (mean + sd * z)).abs().max()) / sd


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("midpoint", 2)])
def test_twice_the_steps_leave_the_error_of_the_solvers_order(solver: str, order: int) -> None:
    assert worst(solver, 80) < 0.05
    assert worst(solver, 20) / worst(solver, 40) > 0.9 * 2**order


def test_the_usual_solver_carries_each_latent_to_its_place() -> None:
    assert worst("midpoint", 10) < 0.01 and worst("midpoint", 10, sd=0.02) < 0.1


# ---- couplings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [False, True])
def test_pairs_are_optimal_within_classes(labelled: bool) -> None:
    x_0, x_1 = (
        torch.randn(2, 6, 3, generator=noise(0)),
        torch.randn(2, 6, 3, generator=noise(1)) * 2 + 1,
    )
    y = torch.tensor([[0, 1, 0, 1, 1, 0], [2, 2, 0, 0, 2, 0]]) if labelled else None
    found = paired(x_0, x_1, y)
    for r in range(2):
        allowed = [
            p for p in permutations(range(6)) if y is None or torch.equal(y[r][list(p)], y[r])
        ]
        best = min(float((x_0[r][list(p)] - x_1[r]).square().sum()) for p in allowed)
        assert float((found[r] - x_1[r]).square().sum()) == pytest.approx(best, rel=1e-5)


def test_optimal_pairs_make_one_step_reach_what_independent_ones_cannot() -> None:
    """One Euler step from independent pairs ends at the data's mean, whatever the latent; optimal
    paths are straight.
    """
    dataset = make("dataset", "mixture", replicates=2)
    real = Samples(dataset.sample(1000, rng()).x)
    quick: dict[str, Any] = dict(
        steps=200, batch=128, lr=1e-2, ema=0.95, solver="euler", sampling_steps=1
    )
    spread = {}
    for coupling in ("independent", "minibatch_ot"):
        model = FlowMatching(**quick, coupling=coupling)  # type: ignore[arg-type]
        model.fit(real, rng(1))
        spread[coupling] = model.sample(1000, rng(2)).x.std(0).mean() / real.x.std(0).mean()
    assert spread["independent"] < 0.4 and spread["minibatch_ot"] > 0.7


# ---- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", ["independent", "minibatch_ot"])
@pytest.mark.parametrize("points", [False, True])
def test_a_perfect_field_has_no_loss(
    coupling: Any, points: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Towards data of one value c the velocity is (c - x) / (1 - t)."""
    model, c = FlowMatching(**SMALL, coupling=coupling), 200 / 127.5 - 1
    data = (
        Samples(np.full((24, 3, 2), 5.0))
        if points
        else Samples(np.full((24, 8, 8, 1), 200, np.uint8))
    )
    model.fit(data, rng())
    net: Any = model.net_

    def predict(x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        t = t if points else t.view(-1, 1, 1, 1) / 1000
        return ((0.0 if points else c) - x) / (
            1 - (t[..., None] if points else t)
        )  # standardised points lie at 0

    monkeypatch.setattr(net, "predict", predict)
    loss = model._loss(
        (torch.from_numpy(data.x).float() if points else torch.from_numpy(data.x),), noise()
    )
    assert loss.shape == ((3,) if points else ()) and float(loss.detach().max()) < 1e-4


@pytest.mark.parametrize("coupling", ["independent", "minibatch_ot"])
def test_points_of_a_labelled_mixture(coupling: Any) -> None:
    dataset = make("dataset", "mixture", replicates=3)
    model = FlowMatching(steps=400, batch=128, lr=1e-2, ema=0.95, coupling=coupling)
    report = model.fit(dataset.sample(1500, rng()), rng(1))
    drawn = model.sample(2500, rng(2), np.arange(2500) % 5)
    assert report["loss"] < report["loss/first"]
    assert drawn.x.shape == (2500, 3, 2) and drawn.x.dtype == np.float32
    for k in range(5):
        of_k = drawn.x[drawn.y == k]
        assert np.abs(of_k.mean(0) - dataset.centres_[k]).max() < 0.15
        assert np.all((of_k.std(0) > 0.13) & (of_k.std(0) < 0.3))  # the truth: 0.2


def test_replicates_are_apart() -> None:
    """A replicate whose data are far away changes nothing for the others."""
    x = rng().standard_normal((200, 2, 2)).astype(np.float32)
    far = x.copy()
    far[:, 1] = 50 + 7 * far[:, 1] ** 2
    draws = []
    for data in (x, far):
        model = FlowMatching(steps=20, batch=32, channels=[16])
        model.fit(Samples(data), rng(1))
        draws.append(model.sample(50, rng(2)).x)
    assert np.allclose(draws[0][:, 0], draws[1][:, 0], atol=1e-5) and not np.allclose(
        draws[0][:, 1], draws[1][:, 1]
    )


def test_truncation_of_points_narrows_them() -> None:
    model = FlowMatching(steps=100, batch=64, channels=[32, 32])
    model.fit(make("dataset", "gaussian", d=2, replicates=2).sample(500, rng()), rng(1))
    spread = [model.sample(400, rng(3), bias=b).x.std(0).mean() for b in (0.0, 0.5, 1.0)]
    assert spread[0] < 1e-5 and spread[1] == pytest.approx(0.5 * spread[2], rel=0.15)


# ---- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "channels"), [((8, 8, 1), [8, 8]), ((28, 28, 1), [8, 8, 8, 8])])
@pytest.mark.parametrize("labelled", [False, True])
def test_pictures(shape: tuple[int, int, int], channels: list[int], labelled: bool) -> None:
    model = FlowMatching(**{**SMALL, "channels": channels})
    model.fit(pictures(shape, labelled), rng())
    labels = np.array([2, 0, 1]) if labelled else None
    drawn = model.sample(3, rng(), labels)
    assert drawn.x.shape == (3, *shape) and drawn.x.dtype == np.uint8
    assert (drawn.y is None) if labels is None else np.array_equal(drawn.y, labels)  # type: ignore[arg-type]


def test_guidance_of_images(fitted: FlowMatching) -> None:
    labels = np.arange(6) % 3
    plain, honest, guided = (fitted.sample(6, rng(2), labels, bias=b).x for b in (None, 1.0, 0.5))
    assert np.array_equal(plain, honest) and not np.array_equal(plain, guided)
    free = FlowMatching(**SMALL, conditional=False)
    free.fit(pictures((8, 8, 1)), rng())
    assert free.sample(3, rng()).y is None
    with pytest.raises(ValueError, match="needs labels"):
        free.sample(3, rng(), bias=0.5)


def test_the_ith_image_depends_on_the_stream_only(
    fitted: FlowMatching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_matching, "BATCH_OUT", 4)
    few, many = (
        fitted.sample(6, rng(5), np.arange(6) % 3),
        fitted.sample(9, rng(5), np.arange(9) % 3),
    )
    assert (
        np.abs(few.x.astype(int) - many.x[:6].astype(int)).max() <= 1
    )  # another batch size may round otherwise


def test_load_is_the_inverse_of_save(fitted: FlowMatching, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = FlowMatching(**SMALL)
    loaded.load(tmp_path)
    assert np.array_equal(fitted.sample(5, rng(1)).x, loaded.sample(5, rng(1)).x)


def test_warm_start_continues() -> None:
    real = make("dataset", "digits").sample(300, rng())
    model = FlowMatching(
        steps=30, batch=16, channels=[8, 16], attention=[], ema=0.0, warm_start=True
    )
    first, second = model.fit(real, rng(1)), model.fit(real, rng(2))
    assert second["loss/first"] < 0.8 * first["loss/first"]
