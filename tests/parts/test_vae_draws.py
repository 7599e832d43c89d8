"""What the autoencoder draws: the decoder's mean, or a draw of its likelihood; which of them is in
the key of the draw alone, and what each leaves of the variance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from engine.generators import _pixels as pixels
from engine.generators.vae import Vae
from engine.lineage.recipe import path
from engine.registry import make
from engine.samples import Samples
from engine.spec import LineageSpec, Part
from tests.support.around import NOTHING

LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian", "optimal_gaussian")
NOISE = 40 / 255  # of pictures in which there is nothing to be learnt but noise


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(n: int, seed: int = 0) -> Samples:
    x = 128 + 255 * NOISE * rng(seed).standard_normal((n, 8, 8, 3))
    return Samples(np.clip(np.rint(x), 0, 255).astype(np.uint8))


class Noise:
    """A data set of such pictures."""

    GIVES = "images"

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        return noise(n, 1)

    def held_out(self, n: int) -> Samples:
        return noise(n, 2)


def ratio(vae: Vae, draw: str) -> float:
    metric = make("metric", "draw")
    metric.prepare(Noise(), noise(600), 400, rng(1))
    vae.draw = draw  # type: ignore[assignment]
    answer = metric(vae.sample(400, rng(2)), vae, NOTHING, rng(3))
    return float(answer["draw/variance_ratio"].value)


def spec(**params: Any) -> LineageSpec:
    parts = [Part("dataset", "digits"), Part("generator", "vae", params)]
    rest = [Part("policy", "replace"), Part("sampling", "plain")]
    return LineageSpec(*parts, *rest, n_real=100, seed=0)


@pytest.mark.parametrize("likelihood", ["gaussian", "optimal_gaussian"])
def test_data_of_known_noise_keep_their_variance_only_when_it_is_drawn(likelihood: str) -> None:
    vae = Vae(steps=200, lr=1e-2, width=4, latent=2, likelihood=likelihood)  # type: ignore[arg-type]
    vae.fit(noise(600), rng(1))
    assert vae.model_ is not None and vae.model_.log_sd is not None
    assert float(torch.exp(vae.model_.log_sd.detach())) == pytest.approx(NOISE, rel=0.06)
    assert ratio(vae, "mean") < 0.1
    assert ratio(vae, "sample") == pytest.approx(1, abs=0.1)


def test_the_optimal_deviation_is_that_of_all_errors_and_is_kept(tmp_path: Path) -> None:
    """Closed form: at its deviation no other has a larger likelihood of the same pictures."""
    vae = Vae(steps=20, width=4, latent=2, likelihood="optimal_gaussian")
    real = noise(300)
    vae.fit(real, rng(1))
    vae.save(tmp_path)
    again = Vae(likelihood="optimal_gaussian")
    again.load(tmp_path)
    assert np.array_equal(vae.sample(20, rng(2)).x, again.sample(20, rng(2)).x)
    assert again.model_ is not None and again.model_.log_sd is not None
    best = float(again.model_.log_sd)
    bounds = {}
    for off in (-0.05, 0.0, 0.05):
        again.model_.log_sd.fill_(best + off)
        bounds[off] = again.nelbo(real, rng(3))[0].mean()
    assert bounds[0.0] < min(bounds[-0.05], bounds[0.05])


@pytest.mark.parametrize("logit", [-9.0, -1.0, 0.0, 0.003, 2.0])
def test_a_continuous_bernoulli_is_a_density_with_the_mean_that_it_gives(logit: float) -> None:
    decoded = torch.full((1, 1, 1, 1), logit)

    def density(x: float) -> float:  # of grey levels in between, too
        level = torch.full((1, 1, 1, 1), 255 * x)
        return float(
            torch.exp(-pixels.negative_log_density("continuous_bernoulli", level, decoded, None))
        )

    assert quad(density, 0, 1)[0] == pytest.approx(1, abs=1e-4)
    mean = float(pixels.mean_picture("continuous_bernoulli", decoded).item())
    assert quad(lambda x: x * density(x), 0, 1)[0] == pytest.approx(mean, abs=1e-3)
    many = torch.full((1, 1, 200, 200), logit)
    drawn = pixels.noisy_picture("continuous_bernoulli", many, None, rng())
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert abs(drawn.mean() - mean) < 4 * drawn.std() / 200 + 1e-3


def test_a_sample_of_bernoulli_pixels_is_what_binarise_draws() -> None:
    real = make("dataset", "digits").sample(100, rng())
    bits = {}
    for name, more in {"old": {"binarise": True}, "new": {"draw": "sample"}}.items():
        vae = Vae(steps=5, width=4, latent=2, **more)  # type: ignore[arg-type]
        vae.fit(real, rng(1))
        bits[name] = vae.sample(30, rng(2)).x
    assert np.array_equal(bits["old"], bits["new"])
    assert set(np.unique(bits["new"])) == {0, 255}
    for more in ({"draw": "mean"}, {"likelihood": "continuous_bernoulli"}):
        with pytest.raises(ValueError, match=r"binarise draws .* does not go with .*; leave"):
            Vae(binarise=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_mean_is_drawn_of_pictures_unless_a_sample_is_asked_for(likelihood: Any) -> None:
    vae = Vae(steps=5, width=4, latent=2, likelihood=likelihood)
    vae.fit(make("dataset", "digits").sample(100, rng()), rng(1))
    drawn = {}
    for draw in (None, "mean", "sample"):
        vae.draw = draw  # type: ignore[assignment]
        drawn[draw] = vae.sample(500, rng(2)).x.astype(float)
    assert np.array_equal(drawn[None], drawn["mean"])
    assert drawn["sample"].var(0).sum() > 1.3 * drawn["mean"].var(0).sum()


def test_a_sample_is_drawn_of_points_unless_the_mean_is_asked_for() -> None:
    vae = Vae(steps=50, width=8, latent=2)
    vae.fit(Samples(rng().standard_normal((300, 2, 2))), rng(1))
    drawn = {}
    for draw in (None, "mean", "sample"):
        vae.draw = draw  # type: ignore[assignment]
        drawn[draw] = vae.sample(2000, rng(2)).x
    assert np.array_equal(drawn[None], drawn["sample"])
    assert drawn["sample"].var(0).sum() > drawn["mean"].var(0).sum() + 0.01


def test_how_it_is_drawn_is_in_the_key_of_the_draw_alone() -> None:
    plain, old, new = (path(s, 0)[0] for s in (spec(), spec(binarise=True), spec(draw="sample")))
    assert plain.model == old.model == new.model
    assert len({plain.draw, old.draw, new.draw}) == 3
    assert path(spec(draw=None), 0)[0].draw == plain.draw
    gaussian = path(spec(likelihood="gaussian"), 0)[0]
    assert gaussian.model != plain.model
