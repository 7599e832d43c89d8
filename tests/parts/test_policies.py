"""Every policy: counts that sum exactly, provenance that is counted, rows that are shared by equal
picks.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.lineage.recipe import path, take
from engine.parts import Pick
from engine.registry import make, names
from engine.samples import REAL, Samples, Traits
from engine.spec import LineageSpec, Part

POINTS = Traits("points", replicates=5)
WITH_FRACTION = ("replace", "accumulate", "augment")


def spec(
    policy: str, n_real: int = 40, n_synthetic: int | None = None, **params: object
) -> LineageSpec:
    return LineageSpec(
        Part("dataset", "gaussian"),
        Part("generator", "gaussian"),
        Part("policy", policy, params),
        Part("sampling", "plain"),
        n_real,
        seed=3,
        n_synthetic=n_synthetic,
    )


def sizes(n_real: int, n_synthetic: int, t: int) -> dict[int, int]:
    """Of every source before generation t."""
    return {-1: n_real} | dict.fromkeys(range(t), n_synthetic)


def sources(n_real: int, n_synthetic: int, t: int, replicates: int = 5) -> dict[int, Samples]:
    """Sets whose values are their row numbers, so that a row can be recognised."""
    found = {}
    for s in range(-1, t):
        n = n_real if s < 0 else n_synthetic
        x = np.broadcast_to(
            np.arange(n, dtype=float)[:, None, None] + 1000 * (s + 1), (n, replicates, 1)
        )
        found[s] = Samples(x.copy(), born=np.full(n, s, np.int32), traits=POINTS)
    return found


def training_set(policy: str, t: int, n_real: int = 40, **params: object) -> Samples:
    chosen = spec(policy, n_real, **params)
    node = path(chosen, t)[t]
    return take(sources(n_real, chosen.n_drawn, t), node.recipe, chosen.seed, t)


@pytest.mark.parametrize("name", names("policy"))
@pytest.mark.parametrize("t", [1, 2, 5])
def test_counts_sum_exactly(name: str, t: int) -> None:
    policy = make("policy", name, **make("policy", name).TINY)
    recipe = policy.recipe(sizes(41, max(41, policy.needs(41)), t), t)
    total = sum(pick.count for pick in recipe)
    grown = 41 * (t + 1)
    expected = {"accumulate": grown, "augment": 82, "replay": grown}.get(name, 41)
    assert total == expected
    assert all(-1 <= s < t for pick in recipe for s in pick.sources)


@settings(max_examples=60, deadline=None)
@given(fraction=st.floats(0, 0.99), n=st.integers(2, 500), t=st.integers(1, 6))
def test_the_synthetic_fraction_is_the_counted_one(fraction: float, n: int, t: int) -> None:
    for name in WITH_FRACTION:
        policy = make("policy", name, synthetic_fraction=fraction)
        recipe = policy.recipe(sizes(n, max(n, policy.needs(n)), t), t)
        synthetic = sum(p.count for p in recipe if p.sources != (-1,))
        total = sum(p.count for p in recipe)
        assert abs(synthetic - fraction * total) <= 0.5 + 1e-9 or name == "augment"
        assert abs(synthetic / total - fraction) <= 1 / n
        assert total == n or name == "augment"


def test_replace_takes_the_newest_generation_whole() -> None:
    data = training_set("replace", 3)
    assert set(np.unique(data.born)) == {2} and len(data) == 40


def test_mix_displaces_real_rows_without_repeats() -> None:
    data = training_set("replace", 3, synthetic_fraction=0.25)
    assert data.synthetic_fraction == 0.25 and data.born.shape == (40, 5)
    for r in range(5):
        assert len(np.unique(data.x[:, r, 0])) == 40, "a row was taken twice"


def test_replicates_choose_their_rows_independently() -> None:
    x = training_set("replace", 3, synthetic_fraction=0.5).x[..., 0]
    assert any((np.sort(x[:, 0]) != np.sort(x[:, r])).any() for r in range(1, 5))


def test_labelled_replicates_share_their_rows() -> None:
    labelled = {
        s: Samples(v.x, np.arange(len(v)) % 3, v.born, traits=Traits("points", 3, 5))
        for s, v in sources(40, 40, 1).items()
    }
    data = take(labelled, (Pick((0,), 20),), 3, 1)
    assert data.born.shape == (20,) and (data.x[:, 0] == data.x[:, 4]).all()
    assert ((data.x[:, 0, 0] - 1000) % 3 == data.y).all(), "labels and rows came apart"


def test_accumulate_keeps_everything_as_blocks() -> None:
    data = training_set("accumulate", 3)
    assert len(data) == 160 and [len(b) for b in data.blocks] == [40] * 4
    assert data.synthetic_fraction == 0.75


def test_accumulate_with_a_fraction_draws_from_the_whole_past() -> None:
    born = np.concatenate(
        [training_set("accumulate", 4, n_real=200, synthetic_fraction=0.9).born.ravel()]
    )
    assert set(np.unique(born)) == {REAL, 0, 1, 2, 3}


def test_augment_keeps_all_real_rows() -> None:
    data = training_set("augment", 2, synthetic_fraction=0.8)
    assert (data.born[:40] == REAL).all() and len(data) == 200 and (data.born[40:] == 1).all()


def test_accumulate_subsample_draws_real_rows_at_their_share() -> None:
    born = training_set("accumulate_subsample", 4, n_real=300).born
    assert born.shape == (300, 5)
    share = (born == REAL).mean()
    assert abs(share - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 1500)


def test_recent_splits_equally_and_gives_the_rest_to_the_newest() -> None:
    recipe = make("policy", "recent", k=3).recipe(sizes(41, 41, 5), 5)
    assert [(p.sources, p.count) for p in recipe] == [((4,), 14), ((3,), 14), ((2,), 13)]
    early = make("policy", "recent", k=10).recipe(sizes(41, 41, 1), 1)
    assert [(p.sources, p.count) for p in early] == [((0,), 21), ((-1,), 20)]


def test_random_past_picks_sources_uniformly_whatever_their_size() -> None:
    chosen = {
        -1: sources(10, 10, 0)[-1],
        0: Samples(np.zeros((990, 400, 1)), born=np.zeros(990, np.int32), traits=POINTS),
    }
    chosen[-1] = Samples(np.ones((10, 400, 1)), traits=POINTS)
    born = take(chosen, (Pick((-1, 0), 100, "uniform_source"),), 0, 1).born
    assert abs((born == REAL).mean() - 0.5) < 4 * 0.5 / np.sqrt(born.size)


def test_equal_picks_are_equal_rows_under_every_policy() -> None:
    """replace and accumulate at one fraction train generation 1 on the same rows, so they share its
    model.
    """
    mix, windowed = (
        spec("replace", synthetic_fraction=0.5),
        spec("accumulate", synthetic_fraction=0.5),
    )
    a, b = path(mix, 2), path(windowed, 2)
    assert a[1].model == b[1].model and a[2].model != b[2].model


def test_a_smaller_pick_is_part_of_a_larger_one() -> None:
    small, large = (
        training_set("replace", 1, synthetic_fraction=0.8),
        training_set("replace", 1, synthetic_fraction=0.2),
    )
    for r in range(5):
        assert set(small.x[:8, r, 0]) < set(large.x[:32, r, 0])


def test_all_policies_at_fraction_zero_are_one_chain() -> None:
    keys = {
        tuple(n.model for n in path(spec(name, synthetic_fraction=0.0), 4))
        for name in WITH_FRACTION
    }
    assert len(keys) == 1


def test_augment_refuses_to_be_all_synthetic() -> None:
    with pytest.raises(ValueError, match=r"augment.*below 1, got 1.0; replace"):
        make("policy", "augment", synthetic_fraction=1.0)


def test_too_few_synthetic_rows_are_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"replace wants 40 rows of generation 0 at generation 1, but 10 are there"
    ):
        path(spec("replace", n_synthetic=10), 2)


def test_n_synthetic_left_out_is_what_the_policy_needs() -> None:
    assert spec("augment", synthetic_fraction=0.9).n_drawn == 360
    assert spec("replace", synthetic_fraction=0.1).n_drawn == 40, (
        "at least n_real, so that draws and metrics have one size"
    )


def test_replace_can_train_on_the_whole_newest_set() -> None:
    chosen = spec("replace", n_synthetic=90, whole=True)
    assert path(chosen, 2)[2].recipe == (Pick((1,), 90),)
    with pytest.raises(ValueError, match="whole trains on synthetic data alone"):
        make("policy", "replace", whole=True, synthetic_fraction=0.5)


def test_random_past_draws_from_the_real_set_too() -> None:
    recipe = make("policy", "random_past").recipe(sizes(40, 40, 3), 3)
    assert recipe == (Pick((-1, 0, 1, 2), 40, "uniform_source"),)
    assert set(np.unique(training_set("random_past", 3, n_real=200).born)) == {REAL, 0, 1, 2}


def test_random_past_chooses_its_rows_apart_in_every_replicate() -> None:
    """Replicates are independent: equal rows in all of them would make standard errors wrong."""
    data = training_set("random_past", 3, n_real=200)
    for replicate in range(1, 5):
        assert np.mean(data.x[:, 0] == data.x[:, replicate]) < 0.05
        assert np.mean(data.born[:, 0] == data.born[:, replicate]) < 0.5


GROWING = {-1: 40, 0: 10, 1: 70, 2: 30}  # what a schedule or a stream of tasks would draw


@pytest.mark.parametrize(
    ("policy", "params", "expected"),
    [
        ("replace", {"whole": True}, (Pick((2,), 30),)),
        ("replace", {"synthetic_fraction": 0.5}, (Pick((-1,), 20), Pick((2,), 20))),
        ("accumulate", {}, (Pick((-1,), 40), Pick((0, 1, 2), 110))),
        ("accumulate", {"synthetic_fraction": 0.25}, (Pick((-1,), 30), Pick((0, 1, 2), 10))),
        ("accumulate_subsample", {}, (Pick((-1, 0, 1, 2), 40),)),
        ("augment", {"synthetic_fraction": 0.2}, (Pick((-1,), 40), Pick((2,), 10))),
        ("recent", {"k": 2}, (Pick((2,), 20), Pick((1,), 20))),
    ],
)
def test_a_policy_sees_the_size_of_every_source(
    policy: str, params: dict[str, object], expected: tuple[Pick, ...]
) -> None:
    assert make("policy", policy, **params).recipe(GROWING, 3) == expected
