"""The closed-form truths: moments, densities, held-out streams, labels, designs, and what is
refused.
"""

from __future__ import annotations

import numpy as np
import pytest

from engine.parts import traits_of
from engine.registry import make
from engine.samples import Samples
from tests.support.around import NOTHING

POINTS = [
    ("gaussian", {"d": 3, "spread": [4.0, 1.0, 0.25]}),
    ("gaussian", {"d": 2, "spread": 9}),
    ("mixture", {}),
    ("mixture", {"modes": 2, "centres": [[0, 0, 1], [3, 0, 0]], "weights": [3, 1], "std": 0.5}),
    *[("shapes", {"shape": shape}) for shape in ("blobs", "circles", "moons", "swiss_roll")],
]
TRUTHS = [*POINTS, ("regression", {"d": 3}), ("categorical", {"law": "zipf"})]


def of(name: str, params: dict, replicates: int = 3) -> object:
    return make("dataset", name, **params, replicates=replicates)


@pytest.mark.parametrize(("name", "params"), POINTS)
def test_moments_are_those_of_the_samples(name: str, params: dict) -> None:
    """Also of replicate 0 against replicate 1: independent."""
    dataset = of(name, params, replicates=2)
    mean, covariance = dataset.moments()
    x = dataset.sample(40_000, np.random.default_rng(0)).x
    scale = np.sqrt(np.diag(covariance))
    for r in range(2):
        assert x[:, r].mean(0) / scale == pytest.approx(mean / scale, abs=0.03)
        assert np.cov(x[:, r], rowvar=False) / np.outer(scale, scale) == pytest.approx(
            covariance / np.outer(scale, scale), abs=0.03
        )
    assert not np.isin(x[:, 0, 0], x[:, 1, 0]).any()


@pytest.mark.parametrize("shape", ["circles", "moons", "swiss_roll", "blobs"])
def test_shape_moments_in_closed_form(shape: str) -> None:
    mean, covariance = of("shapes", {"shape": shape, "noise": 0.0}).moments()
    if shape == "circles":
        assert mean == pytest.approx([0, 0], abs=1e-9)
        assert covariance == pytest.approx(np.eye(2) * (1 + 0.64) / 4, rel=1e-6)
    if shape == "moons":
        assert mean == pytest.approx([0.5, 0.25], rel=1e-6)
        assert covariance[0, 0] == pytest.approx(0.75, rel=1e-5)
        assert covariance[1, 1] == pytest.approx(
            0.5 - (2 / np.pi) ** 2 + (2 / np.pi - 0.25) ** 2, rel=1e-5
        )
    if shape == "swiss_roll":
        assert (mean[1], covariance[1, 1]) == pytest.approx((10.5, 441 / 12), rel=1e-5)
    if shape == "blobs":
        assert mean == pytest.approx([-1 / 3, 0], abs=1e-9)


@pytest.mark.parametrize("shape", ["circles", "moons", "swiss_roll"])
def test_noiseless_points_lie_on_the_shape(shape: str) -> None:
    x = of("shapes", {"shape": shape, "noise": 0.0}).sample(500, np.random.default_rng(0)).x
    if shape == "circles":
        radius = np.hypot(x[..., 0], x[..., 1])
        assert np.minimum(np.abs(radius - 1), np.abs(radius - 0.8)).max() < 1e-12
    if shape == "moons":
        upper = np.abs(np.hypot(x[..., 0], x[..., 1]) - 1) + (x[..., 1] < -1e-12)
        lower = np.abs(np.hypot(x[..., 0] - 1, x[..., 1] - 0.5) - 1) + (x[..., 1] > 0.5 + 1e-12)
        assert np.minimum(upper, lower).max() < 1e-12
        assert (upper < 1e-12).mean() == pytest.approx(0.5, abs=0.05)
    if shape == "swiss_roll":
        t = np.hypot(x[..., 0], x[..., 2])
        assert t.min() >= 1.5 * np.pi - 1e-9 and t.max() <= 4.5 * np.pi + 1e-9
        assert x[..., 0] == pytest.approx(t * np.cos(t), abs=1e-9)


def test_blobs_do_not_move() -> None:
    """Trap 2: train and test share their centres."""
    dataset = of("shapes", {"shape": "blobs", "noise": 0.01})
    centres = [
        np.unique(np.round(s.x.reshape(-1, 2)), axis=0)
        for s in (dataset.sample(300, np.random.default_rng(9)), dataset.held_out(300))
    ]
    assert (centres[0] == centres[1]).all() and len(centres[0]) == 3


@pytest.mark.parametrize(
    ("name", "params"), [p for p in POINTS if p[0] != "shapes" and p[1].get("d") != 3][:2]
)
def test_log_density_integrates_to_one(name: str, params: dict) -> None:
    dataset = of(name, params, replicates=1)
    axis = np.linspace(-16, 16, 801) if name == "gaussian" else np.linspace(-4, 4, 801)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2)
    assert np.exp(dataset.log_density(grid)).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(
        1, abs=1e-4
    )


@pytest.mark.parametrize(
    ("name", "params"), [p for p in TRUTHS if p[0] != "shapes" and p[0] != "regression"]
)
def test_mean_log_density_is_the_negative_entropy(name: str, params: dict) -> None:
    """E log p = minus the entropy: known for the normal, for separated modes and for tokens."""
    dataset = of(name, params)
    log_p = dataset.log_density(dataset.sample(20_000, np.random.default_rng(0)).x)
    if name == "gaussian":
        expected = 0.5 * np.log(2 * np.pi * np.e * dataset.spread_).sum()
    elif name == "mixture":
        d, w = dataset.centres_.shape[1], dataset.weights_
        expected = 0.5 * d * np.log(2 * np.pi * np.e * dataset.std**2) - (w * np.log(w)).sum()
    else:
        expected = -(dataset.probabilities_ * np.log(dataset.probabilities_)).sum()
    assert -log_p.mean(0) == pytest.approx(np.full(3, expected), abs=0.03)


@pytest.mark.parametrize(("name", "params"), TRUTHS)
def test_held_out_is_one_fixed_set_and_none_of_the_samples(name: str, params: dict) -> None:
    first, second = of(name, params).held_out(50), of(name, params).held_out(50)
    assert (first.x == second.x).all() and len(first) == 50
    if name != "categorical":
        assert not np.isin(of(name, params).sample(50, np.random.default_rng(0)).x, first.x).any()


@pytest.mark.parametrize(("name", "params"), TRUTHS)
def test_the_stream_alone_decides_the_samples(name: str, params: dict) -> None:
    a, b, c = (of(name, params).sample(20, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (a.x == b.x).all() and (a.x != c.x).any()
    assert isinstance(a, Samples) and (a.born == -1).all()


# ---- mixture ----


def test_five_modes_on_a_ring() -> None:
    dataset = of("mixture", {})
    assert np.hypot(*dataset.centres_.T) == pytest.approx(np.full(5, 2.0))
    assert dataset.centres_[0] == pytest.approx([2, 0])
    assert np.linalg.norm(
        dataset.centres_ - np.roll(dataset.centres_, 1, 0), axis=1
    ) == pytest.approx(np.full(5, 4 * np.sin(np.pi / 5)))


def test_labels_are_components_shared_by_the_replicates() -> None:
    dataset = of("mixture", {"modes": 3, "weights": [1, 1, 2], "std": 0.01}, replicates=4)
    data = dataset.sample(4000, np.random.default_rng(0))
    assert data.y.shape == (4000,) and traits_of(dataset).classes == 3
    assert np.bincount(data.y) / 4000 == pytest.approx([0.25, 0.25, 0.5], abs=0.03)
    assert np.abs(data.x - dataset.centres_[data.y][:, None]).max() < 0.1


def test_modes_of_the_truth_are_alive_and_missing_ones_are_not() -> None:
    dataset = of("mixture", {}, replicates=2)
    metric = make("metric", "modes")
    data = dataset.sample(5000, np.random.default_rng(0))
    metric.prepare(dataset, data, 5000, np.random.default_rng(0))
    values = metric(data, object(), NOTHING, np.random.default_rng(0))
    assert (values["modes/live"] == 5).all()
    assert values["modes/high_quality"] == pytest.approx(
        np.full(2, values["modes/ceiling"]), abs=0.01
    )
    assert values["modes/ceiling"] == pytest.approx(1 - np.exp(-4.5))
    x = data.x[data.y < 3]
    x[:, 1] = dataset.centres_[0]
    values = metric(Samples(x), object(), NOTHING, np.random.default_rng(0))
    assert values["modes/live"] == pytest.approx([3, 1])
    few = Samples(
        np.concatenate([x[:1000], np.repeat(dataset.centres_[None, 4:], 2, axis=1), x[:0]])
    )
    assert (
        metric(few, object(), NOTHING, np.random.default_rng(0))["modes/live"][0] == 3
    )  # one sample in a thousand is no mode
    enough = Samples(
        np.concatenate(
            [x[:970], np.repeat(dataset.centres_[None, 4:], 30, axis=0).repeat(2, axis=1)]
        )
    )
    assert metric(enough, object(), NOTHING, np.random.default_rng(0))["modes/live"][0] == 4


def test_sets_without_modes_have_no_number_of_them() -> None:
    dataset = of("shapes", {})
    metric = make("metric", "modes")
    data = dataset.sample(10, np.random.default_rng(0))
    metric.prepare(dataset, data, 10, np.random.default_rng(0))
    assert (
        metric(data, object(), NOTHING, np.random.default_rng(0))["modes/live"].reason
        == "Shapes has no modes to count"
    )


# ---- regression and tokens ----


def test_weights_belong_to_the_data_set() -> None:
    a, b = of("regression", {"d": 2}), of("regression", {"d": 2})
    assert (a.weights_ == b.weights_).all() and len(np.unique(a.weights_)) == 6
    assert (of("regression", {"d": 2, "weights_seed": 1}).weights_ != a.weights_).all()
    assert (of("regression", {"d": 2, "weights": "ones"}).weights_ == 1).all()
    quiet = of("regression", {"d": 2, "noise": 0.0})
    for data in (quiet.sample(30, np.random.default_rng(0)), quiet.held_out(30)):
        assert data.y == pytest.approx(np.einsum("nrd,rd->nr", data.x, quiet.weights_))


def test_responses_scatter_with_the_given_noise() -> None:
    dataset = of("regression", {"d": 2, "noise": 0.3})
    data = dataset.sample(20_000, np.random.default_rng(0))
    assert (data.y - np.einsum("nrd,rd->nr", data.x, dataset.weights_)).std(0) == pytest.approx(
        np.full(3, 0.3), rel=0.02
    )


def test_a_fixed_design_is_the_same_in_every_draw_but_not_held_out() -> None:
    dataset = of("regression", {"d": 8, "design_seed": 12345})
    a, b = (dataset.sample(100, np.random.default_rng(seed)) for seed in (0, 1))
    assert (a.x == b.x).all() and (a.y != b.y).all()
    assert (a.x[:, 2] == np.random.default_rng(12345).normal(size=(100, 8))).all()
    assert not np.isin(dataset.held_out(100).x, a.x).any()


def test_token_laws() -> None:
    assert of("categorical", {"outcomes": 4}).probabilities_ == pytest.approx(np.full(4, 0.25))
    assert of("categorical", {"outcomes": 3, "law": "zipf"}).probabilities_ == pytest.approx(
        np.array([6, 3, 2]) / 11
    )
    assert of(
        "categorical", {"outcomes": 2, "law": "zipf", "exponent": 2.0}
    ).probabilities_ == pytest.approx([0.8, 0.2])
    given = of("categorical", {"probabilities": [1, 0, 3]})
    assert given.probabilities_ == pytest.approx([0.25, 0, 0.75])
    tokens = given.sample(8000, np.random.default_rng(0)).x
    assert tokens.dtype == np.int64 and set(np.unique(tokens)) == {0, 2}
    assert (tokens == 2).mean(0) == pytest.approx(np.full(3, 0.75), abs=0.02)
    assert given.log_density(np.array([[0, 1, 2]])).tolist() == [
        [np.log(0.25), -np.inf, np.log(0.75)]
    ]


# ---- what is refused ----


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        (
            "gaussian",
            {"d": 3, "spread": [1.0, 2.0]},
            r"gaussian: spread needs one number, or 3 \(one per axis, d = 3\); got 2",
        ),
        ("mixture", {"weights": [1.0]}, r"mixture: weights needs 5 numbers \(modes = 5\); got 1"),
        ("mixture", {"centres": [[0, 0]]}, "mixture: centres needs 5 points of one dimension"),
        ("mixture", {"modes": 2, "centres": [[0, 0], [1]]}, r"got 2 of dimensions \[1, 2\]"),
        (
            "categorical",
            {"probabilities": [0.0, 0.0]},
            "categorical: probabilities needs at least one positive number",
        ),
    ],
)
def test_refusals_name_the_parameter_and_what_it_needs(
    name: str, params: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make("dataset", name, **params)
