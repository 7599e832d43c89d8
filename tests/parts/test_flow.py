"""The flow: its density is one, its samples have it, it learns what closed forms know; Rosenbrock's
moments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.generators.flow import Flow, PointFlow
from engine.parts import Finding
from engine.registry import make
from engine.samples import Samples
from tests.support.around import NOTHING

COUPLINGS = ["affine", "spline"]
SMALL: dict[str, Any] = {"transforms": 4, "width": 24, "steps": 200, "batch": 128, "lr": 3e-3}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def banana(replicates: int = 1, **params: Any) -> Any:
    return make("dataset", "rosenbrock", replicates=replicates, **params)


@pytest.fixture(scope="module", params=COUPLINGS)
def fitted(request: pytest.FixtureRequest) -> Flow:
    flow = Flow(coupling=request.param, **SMALL)
    flow.fit(banana(replicates=2).sample(2000, rng()), rng(1))
    return flow


def grid(low: float, high: float, points: int) -> tuple[np.ndarray, float]:
    axis = np.linspace(low, high, points)
    return np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2), (axis[1] - axis[0]) ** 2


def test_rosenbrock_has_its_closed_moments_also_when_it_leans() -> None:
    dataset = banana(mean=0.7, a=0.8, b=2.0, replicates=2)
    mean, covariance = dataset.moments()
    x = dataset.sample(400_000, rng()).x
    for r in range(2):
        assert x[:, r].mean(0) == pytest.approx(mean, abs=0.015)
        assert np.cov(x[:, r], rowvar=False) == pytest.approx(covariance, rel=0.02)
    assert not np.isin(x[:, 0, 0], x[:, 1, 0]).any()


def test_rosenbrock_density_is_one_and_its_entropy_is_that_of_its_two_normals() -> None:
    dataset = banana(mean=0.5, a=0.8, b=2.0)
    points, area = grid(-6, 20, 1301)
    assert np.exp(dataset.log_density(points)).sum() * area == pytest.approx(1, abs=1e-4)
    log_p = dataset.log_density(dataset.sample(100_000, rng()).x)
    entropy = 0.5 * np.log(2 * np.pi * np.e * np.array([1 / 1.6, 1 / 4])).sum()
    assert -log_p.mean() == pytest.approx(
        entropy, abs=4 / np.sqrt(100_000)
    )  # the standard deviation of log p is 1


def test_its_density_integrates_to_one(fitted: Flow) -> None:
    points, area = grid(-8, 30, 571)
    log_p = fitted.log_density(np.repeat(points, 2, axis=1))
    assert log_p.shape == (571**2, 2) and np.exp(log_p).sum(0) * area == pytest.approx(
        np.ones(2), abs=1e-2
    )


def test_its_samples_have_its_density(fitted: Flow) -> None:
    """E -log p over the flow's own samples is the entropy, which the grid knows."""
    points, area = grid(-8, 30, 571)
    log_p = fitted.log_density(np.repeat(points, 2, axis=1))
    entropy = -(np.exp(log_p) * log_p).sum(0) * area
    assert -fitted.log_density(fitted.sample(40_000, rng(2)).x).mean(0) == pytest.approx(
        entropy, abs=0.03
    )


def test_it_learns_the_banana(fitted: Flow) -> None:
    dataset = banana(replicates=2)
    x = dataset.held_out(4000).x
    excess = (dataset.log_density(x) - fitted.log_density(x)).mean(
        0
    )  # KL(truth || model), estimated
    assert excess.max() < (0.05 if fitted.coupling == "affine" else 0.12) and excess.min() > -0.01


def test_decoding_is_the_inverse_of_encoding(fitted: Flow) -> None:
    model = fitted.model_
    assert model is not None
    x = torch.from_numpy(banana(replicates=2).sample(500, rng(3)).x.astype(np.float32)).transpose(
        0, 1
    )
    with torch.inference_mode():
        z = model.standardise(x)
        for coupling in model.couplings:
            z, _ = coupling(z)
        assert (model.decode(z) - x).abs().max() < 2e-3


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_log_volume_is_the_jacobian_of_the_map(coupling: str, d: int) -> None:
    """Against torch's own Jacobian, standardisation included; for a spline also where it is the
    identity.
    """
    torch.manual_seed(0)
    model = PointFlow(1, d, 3, 8, 4 if coupling == "spline" else 0, 1.0)
    model.standardise.sd.fill_(2.5)
    model.double().requires_grad_(False)
    for parameter in model.parameters():
        parameter.data.mul_(3)

    def to_base(x: torch.Tensor) -> torch.Tensor:
        z = model.standardise(x[None, None])
        for each in model.couplings:
            z, _ = each(z)
        return z[0, 0]

    for x in 3 * torch.randn(6, d, dtype=torch.float64):
        log_volume = torch.linalg.slogdet(torch.autograd.functional.jacobian(to_base, x)).logabsdet
        base = torch.distributions.Normal(0.0, 1.0).log_prob(to_base(x)).sum()
        assert float(model.log_density(x[None, None])) == pytest.approx(
            float(base + log_volume), rel=1e-9
        )


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_it_reaches_a_gaussians_closed_entropy(coupling: str) -> None:
    dataset = make("dataset", "gaussian", d=2, spread=[9.0, 0.25], replicates=2)
    flow = Flow(coupling=coupling, **SMALL)  # type: ignore[arg-type]
    report = flow.fit(dataset.sample(4000, rng()), rng(1))
    entropy = 0.5 * np.log((2 * np.pi * np.e) ** 2 * 9 * 0.25)
    x = dataset.held_out(4000).x
    own = 0.5 * np.log((2 * np.pi) ** 2 * 9 * 0.25) + 0.5 * (x**2 / dataset.spread_).sum(-1).mean(
        0
    )  # the truth's, on these points
    assert -flow.log_density(x).mean(0) == pytest.approx(own, abs=0.03) and report[
        "loss"
    ] == pytest.approx(entropy, abs=0.06)


def test_the_bias_is_a_variance_of_the_base(fitted: Flow) -> None:
    """An identity map shows it as it is; a trained one draws the banana together."""
    traces = [
        fitted.sample(4000, rng(1), bias=b).x.var(0).sum(-1).mean() for b in (0.0, 0.25, 0.75, 1.0)
    ]
    assert traces[0] < 1e-9 < traces[1] < 0.5 * traces[3] and traces[2] < 0.9 * traces[3]
    assert np.array_equal(fitted.sample(9, rng(1), bias=1.0).x, fitted.sample(9, rng(1)).x)
    plain = Flow(**SMALL)
    plain.config_, plain.model_ = {"replicates": 1, "d": 2}, PointFlow(1, 2, 2, 8, 0, 1.0)
    for parameter in plain.model_.parameters():
        parameter.data.zero_()
    assert plain.sample(9, rng(1), bias=0.25).x == pytest.approx(0.5 * plain.sample(9, rng(1)).x)


def test_same_stream_same_bits_also_after_a_file(tmp_path: Path) -> None:
    real = banana(replicates=2).sample(200, rng())
    draws = []
    for _ in range(2):
        flow = Flow(transforms=2, width=8, steps=5)
        flow.fit(real, rng(1))
        draws.append(flow.sample(50, rng(2)).x)
    flow.save(tmp_path)
    loaded = Flow()
    loaded.load(tmp_path)
    assert draws[0].dtype == np.float32 and draws[0].shape == (50, 2, 2)
    assert np.array_equal(draws[0], draws[1]) and np.array_equal(
        draws[0], loaded.sample(50, rng(2)).x
    )
    assert np.array_equal(flow.log_density(real.x), loaded.log_density(real.x))


def test_the_ith_sample_depends_on_its_own_latents_only(fitted: Flow) -> None:
    few, many = fitted.sample(10, rng(5)).x, fitted.sample(5000, rng(5)).x
    assert few == pytest.approx(many[:10], abs=1e-3)


def test_a_line_is_learnt_by_the_same_map_for_all_points() -> None:
    """d = 1: affine maps can only stay normal, splines follow a two-peaked density."""
    x = np.concatenate([rng().normal(-3, 0.5, (500, 1, 1)), rng(1).normal(3, 0.5, (500, 1, 1))])
    loss = {}
    for coupling in COUPLINGS:
        flow = Flow(coupling=coupling, **SMALL | {"bound": 3.0, "transforms": 2})  # type: ignore[arg-type]
        loss[coupling] = flow.fit(Samples(x), rng(2))["loss"]
    assert loss["affine"] == pytest.approx(0.5 * np.log(2 * np.pi * np.e * 9.25), abs=0.03)
    assert loss["spline"] < 0.5 * np.log(2 * np.pi * np.e * 0.25) + np.log(2) + 0.1


@pytest.mark.parametrize(
    ("x", "status"),
    [(np.full((20, 1, 2), 3.0), "constant"), (np.full((20, 1, 2), np.nan), "diverged")],
)
def test_what_has_no_likelihood_ends_with_a_finding(x: np.ndarray, status: str) -> None:
    with pytest.raises(Finding) as caught:
        Flow(**SMALL).fit(Samples(x), rng())
    assert caught.value.status == status


def test_divergence_ends_with_a_finding(fitted: Flow) -> None:
    with pytest.raises(Finding, match="diverged"):
        Flow(**SMALL | {"lr": 1e12, "coupling": "affine"}).fit(banana().sample(200, rng()), rng())
    assert fitted.model_ is not None
    with torch.no_grad():
        before = fitted.model_.standardise.mean.clone()
        fitted.model_.standardise.mean.fill_(torch.inf)
        with pytest.raises(Finding, match="not finite"):
            fitted.sample(3, rng())
        fitted.model_.standardise.mean.copy_(before)


def test_the_metric_reads_its_density(fitted: Flow) -> None:
    metric = make("metric", "nll", points=200)
    dataset = banana(replicates=2)
    metric.prepare(dataset, dataset.sample(50, rng()), 50, rng())
    answer = metric(fitted.sample(50, rng()), fitted, NOTHING, rng())
    assert answer["nll"].shape == (2,) and (answer["nll"] > answer["nll/truth"] - 0.05).all()
