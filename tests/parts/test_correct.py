"""Moment-corrected draws against what they promise: the moments that are kept never drift, nothing
else is touched, and what did not drift stays as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.fft

from engine.parts import Finding
from engine.registry import make
from engine.samples import Samples, concat
from engine.samplings._moments import cosines, mean_and_covariance, principal, vectors
from engine.samplings.correct import transport
from tests.support.around import around


def prepared(dataset: Any, real: Samples, founder: Any = None, **params: Any) -> Any:
    sampling = make("sampling", "correct", **params)
    sampling.prepare(dataset, real, founder, np.random.default_rng(11))
    return sampling


def drawn(sampling: Any, generator: Any, n: int, real: Samples, seed: int = 0) -> Any:
    return sampling.draw(generator, n, around(real, n, generator), np.random.default_rng(seed))


def gaussian(d: int, n: int, replicates: int) -> tuple[Any, Samples, Any]:
    """A data set, its real set and the founder."""
    dataset = make("dataset", "gaussian", d=d, replicates=replicates)
    real = dataset.sample(n, np.random.default_rng(3))
    founder = make("generator", "gaussian")
    founder.fit(real, np.random.default_rng(1))
    return dataset, real, founder


class Given:
    """A model that draws given rows, of the labels that it is asked for in turn."""

    CONDITIONAL = True

    def __init__(self, rows: Samples) -> None:
        self.rows = rows

    def sample(
        self, n: int, rng: np.random.Generator, labels: np.ndarray | None = None, bias: Any = None
    ) -> Samples:
        if labels is None:
            return self.rows.take(np.arange(n) % len(self.rows))
        x = np.empty((n, *self.rows.x.shape[1:]), self.rows.x.dtype)
        for k in np.unique(labels):
            own = self.rows.of_class(k).x
            x[labels == k] = own[np.arange((labels == k).sum()) % len(own)]
        return Samples(x, labels)


def digits(n: int = 300) -> tuple[Any, Samples]:
    dataset = make("dataset", "digits", balanced=True)
    return dataset, dataset.sample(n, np.random.default_rng(0))


def squeezed(real: Samples) -> Samples:
    """What a model that has lost half of its variance, and got darker, would draw."""
    x = real.x.astype(float)
    return Samples((0.4 * x + 0.5 * 0.6 * x.mean(0)).round().astype(np.uint8), real.y)


# ---- the law -------------------------------------------------------------------------------------


def test_in_all_directions_the_founders_moments_stay_for_ever() -> None:
    """The drift is switched off: model t is model 0, whose moments are those of maximum
    likelihood."""
    dataset, real, founder = gaussian(d=3, n=50, replicates=20)
    sampling = prepared(dataset, real, founder, r=3)
    mean, covariance = founder.mean_.copy(), founder.covariance_.copy()
    for t in range(20):
        founder.fit(drawn(sampling, founder, 50, real, t).samples, np.random.default_rng(1))
        assert np.abs(founder.mean_ - mean).max() < 1e-10
        assert np.abs(founder.covariance_ - covariance).max() < 1e-10


def test_across_the_directions_the_law_of_replace_holds() -> None:
    """E v_t = v_0 (1 - 1/n)^t in the two directions that are not kept, at 4 standard errors."""
    dataset, real, model = gaussian(d=4, n=50, replicates=1500)
    sampling = prepared(dataset, real, model, r=2, across="left")
    kept = principal(vectors(real.x), 4)  # [replicates, 4, 4], the last two across
    across = kept[:, 2:]

    def variance() -> np.ndarray:
        return np.einsum("rid,rde,rie->r", across, model.covariance_, across)

    first = variance()
    for t in range(1, 11):
        model.fit(drawn(sampling, model, 50, real, t).samples, np.random.default_rng(1))
        if t in (5, 10):
            ratio = variance() / first
            se = ratio.std() / np.sqrt(len(ratio))
            assert abs(ratio.mean() - (1 - 1 / 50) ** t) < 4 * se


def test_across_the_directions_a_draw_is_the_models_own() -> None:
    dataset, real, model = gaussian(d=4, n=50, replicates=7)
    model.covariance_ *= 0.3
    model.factor_ *= np.sqrt(0.3)
    plain = make("sampling", "plain").draw(
        model, 60, around(real, 60, model), np.random.default_rng(5)
    )
    moved = drawn(prepared(dataset, real, model, r=2, across="left"), model, 60, real, 5)
    basis = principal(vectors(real.x), 4)
    one, two = (vectors(s.samples.x) @ basis.transpose(0, 2, 1) for s in (plain, moved))
    np.testing.assert_allclose(one[..., 2:], two[..., 2:], atol=1e-12)
    wanted = mean_and_covariance(vectors(real.x) @ basis[:, :2].transpose(0, 2, 1))
    for found, own in zip(mean_and_covariance(two[..., :2]), wanted, strict=True):
        np.testing.assert_allclose(found, own, atol=1e-12)
    assert moved.report["moved"] == pytest.approx(
        np.sqrt(np.mean((plain.samples.x - moved.samples.x) ** 2))
    )


@pytest.mark.parametrize("across", ["scaled", "matched"])
def test_scaled_across_the_directions_the_variance_never_drifts(across: str) -> None:
    """Nor, matched, does the mean; else it wanders by the law of replace."""
    dataset, real, model = gaussian(d=4, n=50, replicates=30)
    sampling = prepared(dataset, real, model, r=2, across=across)
    basis = principal(vectors(real.x), 4)[:, 2:]
    mean, total = model.mean_.copy(), np.einsum("rid,rde,rie->r", basis, model.covariance_, basis)
    for t in range(12):
        model.fit(drawn(sampling, model, 50, real, t).samples, np.random.default_rng(1))
        now = np.einsum("rid,rde,rie->r", basis, model.covariance_, basis)
        assert np.abs(now - total).max() < 1e-10
    gone = np.abs(np.einsum("rid,rd->ri", basis, model.mean_ - mean)).max()
    assert gone < 1e-10 if across == "matched" else gone > 0.1


def test_the_map_is_the_optimal_one_between_gaussians() -> None:
    """Symmetric and positive, so the gradient of a convex function: Brenier's map."""
    rng = np.random.default_rng(0)
    s, c = (a @ a.transpose(0, 2, 1) for a in rng.normal(size=(2, 6, 4, 4)))
    a = transport(s, c)
    np.testing.assert_allclose(a @ s @ a, c, atol=1e-9)
    np.testing.assert_allclose(a, a.transpose(0, 2, 1), atol=1e-9)
    assert (np.linalg.eigvalsh(a) > 0).all()


def test_where_a_draw_does_not_vary_only_its_mean_is_moved() -> None:
    flat, c = np.diag([2.0, 0.0]), np.diag([8.0, 3.0])
    np.testing.assert_allclose(transport(flat, c), np.diag([2.0, 0.0]), atol=1e-12)
    dataset, real, _ = gaussian(d=2, n=30, replicates=1)
    constant = Given(Samples(np.full((10, 1, 2), 7.0)))
    constant.CONDITIONAL = False
    found = drawn(prepared(dataset, real, r=2), constant, 10, real).samples.x
    np.testing.assert_allclose(found, np.broadcast_to(real.x.mean(0), found.shape), atol=1e-12)


# ---- what is left as it is -----------------------------------------------------------------------


@pytest.mark.parametrize("basis", ["coordinates", "dct", "pca", "task_pca", "class_pca"])
def test_what_has_not_drifted_stays_bit_for_bit(basis: str) -> None:
    dataset, real = digits()
    found = drawn(prepared(dataset, real, basis=basis, r=8), Given(real), 300, real)
    same = Given(real).sample(300, np.random.default_rng(0), found.samples.y)
    assert found.samples.x.dtype == np.uint8
    np.testing.assert_array_equal(found.samples.x, same.x)
    assert found.report["clipped"] == 0 and found.report["moved"] < 1e-12


@pytest.mark.parametrize("basis", ["dct", "pca", "class_pca"])
def test_each_class_of_pictures_gets_its_moments_and_keeps_its_labels(basis: str) -> None:
    dataset, real = digits()
    draw = drawn(prepared(dataset, real, basis=basis, r=4), Given(squeezed(real)), 300, real)
    samples, rows = draw.samples, vectors(real.x)
    plain = Given(squeezed(real)).sample(300, np.random.default_rng(0), samples.y)
    assert (np.bincount(samples.y) == 30).all() and (samples.born == plain.born).all()
    for k in range(10):
        own = vectors(real.of_class(k).x)
        directions = cosines((8, 8, 1), 4) if basis == "dct" else principal(rows, 4)
        if basis == "class_pca":
            directions = principal(own, 4)
        back = directions.transpose(0, 2, 1)
        wanted, covariance = mean_and_covariance(own @ back)
        found, spread = mean_and_covariance(vectors(samples.of_class(k).x) @ back)
        before, lost = mean_and_covariance(vectors(plain.of_class(k).x) @ back)
        # clipped and rounded afterwards: near, and far nearer than before
        assert np.abs(found - wanted).max() < 0.35 * np.abs(before - wanted).max()
        assert np.abs(spread - covariance).max() < 0.35 * np.abs(lost - covariance).max()
    assert 0 < draw.report["clipped"] < 0.5


def test_points_of_each_class_get_its_moments_exactly() -> None:
    dataset = make("dataset", "mixture", replicates=1)
    real = dataset.sample(200, np.random.default_rng(0))
    far = Given(Samples(3 * real.x[::-1] + 1, real.y[::-1]))
    found = drawn(prepared(dataset, real), far, 120, real).samples
    for k in np.unique(real.y):
        wanted = mean_and_covariance(vectors(real.of_class(k).x))
        for mine, own in zip(
            mean_and_covariance(vectors(found.of_class(k).x)), wanted, strict=True
        ):
            np.testing.assert_allclose(mine, own, atol=1e-10)


def test_in_no_direction_it_is_the_plain_draw_bit_for_bit() -> None:
    dataset, real, model = gaussian(d=2, n=40, replicates=3)
    plain = make("sampling", "plain").draw(
        model, 30, around(real, 30, model), np.random.default_rng(4)
    )
    found = drawn(prepared(dataset, real, model, r=0), model, 30, real, 4)
    assert found.samples.x.tobytes() == plain.samples.x.tobytes() and found.report == {}


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("basis", "per_class", "across", "numbers"),
    [
        ("dct", True, "left", 16 + 16 * 17 // 2),
        ("coordinates", True, "left", 16 + 16 * 17 // 2),
        ("dct", True, "scaled", 16 + 16 * 17 // 2 + 1),
        ("dct", True, "matched", 64 + 16 * 17 // 2 + 1),
        ("pca", True, "left", 16 + 16 * 17 // 2 + 16 * 64 / 10),
        ("class_pca", True, "left", 2 * 16 + 16 * 64),
        ("dct", False, "left", (16 + 16 * 17 // 2) / 10),
    ],
)
def test_memory_is_counted_in_float32_with_the_basis(
    basis: str, per_class: bool, across: str, numbers: float
) -> None:
    dataset, real = digits()
    sampling = prepared(dataset, real, basis=basis, per_class=per_class, across=across)
    report = drawn(sampling, Given(real), 300, real).report
    assert report["bytes_per_class"] == pytest.approx(4 * numbers)


def test_the_cosines_are_those_of_the_transform() -> None:
    basis = cosines((5, 7, 3), 30)[0]
    np.testing.assert_allclose(basis @ basis.T, np.eye(30), atol=1e-12)
    x = np.random.default_rng(0).normal(size=(5, 7, 3))
    whole = scipy.fft.dctn(x, norm="ortho").ravel()
    u, v, c = np.indices(x.shape).reshape(3, -1)
    lowest = np.argsort(u**2 + v**2 + c**2, kind="stable")[:30]
    np.testing.assert_allclose(basis @ x.ravel(), whole[lowest], atol=1e-12)


# ---- streams of tasks ----------------------------------------------------------------------------


def of_tasks() -> tuple[Any, Samples, dict[int, Samples], Any]:
    """Digits whose classes 0, 1 arrived at task 0 and 2, 3 at task 1, and what is around a draw."""
    dataset, real = digits(400)
    tasks = {j: real.take(np.flatnonzero(real.y // 2 == j)) for j in (0, 1)}
    labels = np.arange(80) % 4
    about = replace(
        around(tasks[1], 80),
        labels=labels,
        real_of=tasks.__getitem__,
        task_of={0: 0, 1: 0, 2: 1, 3: 1},
    )
    return dataset, tasks[0], tasks, about


@pytest.mark.parametrize("per_class", [True, False])
def test_the_moments_of_a_class_are_of_the_task_at_which_it_arrived(per_class: bool) -> None:
    dataset, first, tasks, about = of_tasks()
    both = Given(squeezed(concat([*tasks.values()])))
    sampling = prepared(dataset, first, basis="task_pca", r=4, per_class=per_class)
    plain = both.sample(80, np.random.default_rng(0), about.labels)
    found = sampling.draw(both, 80, about, np.random.default_rng(0)).samples
    for real in tasks.values():
        basis = principal(vectors(real.x), 4)[0].T
        groups = np.unique(real.y)[:, None] if per_class else [np.unique(real.y)]
        for classes in groups:
            of = [vectors(s.x[np.isin(s.y, classes)])[0] @ basis for s in (real, found, plain)]
            wanted, mine, before = (z.mean(0) for z in of)
            assert np.abs(mine - wanted).max() < 0.25 * np.abs(before - wanted).max(), classes


def test_only_tasks_of_which_a_class_is_drawn_are_asked_for() -> None:
    """A model that has not learnt from task 0 has a key that does not imply its real rows."""
    dataset, first, tasks, about = of_tasks()

    def real_of(j: int) -> Samples:
        assert j == 1
        return tasks[j]

    late = replace(about, labels=2 + np.arange(40) % 2, real_of=real_of)
    sampling = prepared(dataset, first, r=4)
    sampling._memory.first = None
    sampling.draw(Given(squeezed(tasks[1])), 40, late, np.random.default_rng(0))


def test_a_draw_without_labels_is_one_group_of_all_tasks() -> None:
    dataset, first, tasks, about = of_tasks()
    sampling = prepared(dataset, first, basis="pca", r=2)
    unlabelled = Given(Samples(squeezed(tasks[1]).x))
    found = sampling.draw(unlabelled, 40, replace(about, labels=None), np.random.default_rng(0))
    basis = principal(vectors(first.x), 2).transpose(0, 2, 1)
    wanted = (vectors(np.concatenate([s.x for s in tasks.values()])) @ basis).mean(1)
    assert np.abs((vectors(found.samples.x) @ basis).mean(1) - wanted).max() < 0.08


# ---- inside and around others --------------------------------------------------------------------


def test_it_corrects_what_another_sampling_draws() -> None:
    dataset, real, model = gaussian(d=2, n=60, replicates=4)
    biased = {"name": "biased", "sampling_bias": 0.2}
    found = drawn(prepared(dataset, real, model, r=2, sampling=biased), model, 50, real).samples
    for mine, own in zip(
        mean_and_covariance(vectors(found.x)), mean_and_covariance(vectors(real.x)), strict=True
    ):
        np.testing.assert_allclose(mine, own, atol=1e-10)


def test_another_sampling_judges_what_it_has_corrected() -> None:
    dataset = make("dataset", "mixture", replicates=1)
    real = dataset.sample(200, np.random.default_rng(0))
    verify = make(
        "sampling",
        "verify",
        rule="top",
        share=0.5,
        reward={"name": "true_density"},
        sampling={"name": "correct"},
    )
    far = Given(Samples(real.x + 50, real.y))
    verify.prepare(dataset, real, far, np.random.default_rng(0))
    found = verify.draw(far, 60, around(real, 60, far), np.random.default_rng(0))
    assert np.abs(found.samples.x).max() < 10 and found.report["acceptance"] <= 0.5


def test_a_draw_that_is_not_finite_is_a_finding() -> None:
    dataset, real, _ = gaussian(d=2, n=30, replicates=1)
    bad = Given(Samples(np.full((10, 1, 2), np.nan)))
    bad.CONDITIONAL = False
    with pytest.raises(Finding, match="diverged"):
        drawn(prepared(dataset, real, r=2), bad, 10, real)
