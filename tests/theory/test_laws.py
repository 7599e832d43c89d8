"""The run-time check against theory: silent on right chains, loud on an off-by-one generation or a
wrong divisor or policy.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.frame.rows import tidy
from analysis.theory.laws import Law, against, alarms, check, expected, worst_z
from engine.lineage.history import lineage_of
from engine.lineage.loop import Lineage
from engine.names import alone
from engine.spec import LineageSpec, MeasureSpec, Part, Sweep
from engine.store.rows import Generation
from engine.store.store import Store

METRICS = {"gaussian": "moments", "regression": "moments", "categorical": "discrete"}


def spec(
    dataset: str = "gaussian",
    generator: str | None = None,
    policy: str = "replace",
    n: int = 30,
    **given: Any,
) -> LineageSpec:
    """A lineage of 1,000 replicates; given: parameters of the parts as dataset_d,
    policy_synthetic_fraction, ..., or fields.
    """
    parts = {"dataset": {"replicates": 1000}, "generator": {}, "policy": {}, "sampling": {}}
    names = {"dataset": dataset, "policy": policy, "sampling": given.pop("sampling", "plain")}
    names["generator"] = generator or {"regression": "linear_regression"}.get(dataset, dataset)
    fields = {k: given.pop(k) for k in ("arrival", "n_synthetic") if k in given}
    for key, value in given.items():
        kind, _, name = key.partition("_")
        parts[kind][name] = value
    made = {kind: Part(kind, names[kind], params) for kind, params in parts.items()}
    return LineageSpec(**made, n_real=n, seed=3, **fields)


def rows(one: LineageSpec, folder: Path, generations: int = 20) -> list[Generation]:
    metrics = (MeasureSpec(Part("metric", METRICS[one.dataset.name])),)
    sweep = Sweep("laws", (one,), generations, metrics, out=str(folder))
    lineage: Lineage = lineage_of(sweep, Store(sweep.out), one)
    while not lineage.done:
        lineage.advance_for(60)
    return lineage.rows()


ITERATED: dict[str, Any] = {"sampling": "edit", "sampling_of": "training"}
RIGHT = [
    spec(),
    spec(dataset_d=3, dataset_spread=[1.0, 2.0, 5.0]),
    spec(n=20, dataset_d=30),
    spec(policy="accumulate"),
    spec(policy="accumulate_subsample"),
    spec(policy="augment", policy_synthetic_fraction=0.75, n_synthetic=90),
    spec(policy="augment", policy_synthetic_fraction=0.5, arrival="fresh"),
    spec(policy_synthetic_fraction=0.6),
    spec(generator="kde", generator_bandwidth=0.3),
    spec("regression", dataset_d=4),
    spec("regression", policy="accumulate", dataset_d=2, dataset_noise=0.5, generator_noise=0.5),
    spec("regression", n=100, dataset_d=2, sampling="edit", sampling_share=0.5),
    spec("regression", n=100, dataset_d=2, **ITERATED, sampling_share=0.2),
    spec("regression", n=100, dataset_d=2, **ITERATED, sampling_share=0.1, sampling_again=False),
    spec("categorical", dataset_outcomes=5),
    spec("categorical", dataset_outcomes=5, policy="augment", policy_synthetic_fraction=0.5),
]


@pytest.mark.parametrize("one", RIGHT, ids=lambda s: f"{s.dataset.name}, {alone(s)}, n={s.n_real}")
def test_right_chains_are_within_four_standard_errors(one: LineageSpec, tmp_path: Path) -> None:
    compared = against(tidy(rows(one, tmp_path), {one.id: one}), [one])
    assert compared["tested"].sum() >= 3
    assert compared["z"].abs().max() < 4, worst_z(compared).to_string()
    assert alarms(compared) == []


@pytest.mark.parametrize(
    "one",
    [spec(), spec(policy="accumulate"), spec("regression", dataset_d=4)],
    ids=alone,
)
def test_an_off_by_one_generation_is_caught(one: LineageSpec, tmp_path: Path) -> None:
    shifted = [replace(row, t=row.t - 1) for row in rows(one, tmp_path)[1:]]
    said = check(tidy(shifted, {one.id: one}), [one])
    assert said and "z = " in said[0] and alone(one) in said[0]


@pytest.mark.parametrize("policy", ["replace", "accumulate_subsample"])
def test_a_wrong_divisor_is_caught(policy: str, tmp_path: Path) -> None:
    wrong, told = spec(policy=policy, generator_divisor="n-1"), spec(policy=policy)
    found = [replace(row, lineage=told.id) for row in rows(wrong, tmp_path)]
    assert check(tidy(found, {told.id: told}), [told])


def test_a_policy_that_does_another_thing_is_caught(tmp_path: Path) -> None:
    wrong, told = spec(), spec(policy="accumulate")
    found = [replace(row, lineage=told.id) for row in rows(wrong, tmp_path)]
    assert len(check(tidy(found, {told.id: told}), [told])) == 2, "mean error and trace ratio"


@pytest.mark.parametrize(
    "one",
    [
        spec(generator_divisor="n-1"),
        spec(sampling="biased", sampling_sampling_bias=0.5),
        spec("regression", policy="accumulate_subsample"),
        spec("categorical", policy="random_past"),
        spec("mixture", generator="wgan"),
    ],
    ids=alone,
)
def test_where_no_law_is_known_nothing_is_said(one: LineageSpec) -> None:
    assert expected(one) == {}


MIX = {"policy_synthetic_fraction": 0.5}
BIASED = {"sampling": "biased", "sampling_sampling_bias": 0.5}
FRESH = {"arrival": "fresh"}
MORE = {"n_synthetic": 90, "policy_whole": True}  # drawn than there are real rows
LONGER = {"n_synthetic": 90}
SHARED = {"policy": "augment", **MIX}
KDE = {"dataset": "gaussian", "generator": "kde", "generator_bandwidth": 0.3}
LINEAR = {"dataset": "regression", "dataset_d": 4}
EDITED = {**LINEAR, "sampling": "edit", "n": 200}
OUTCOMES = {"dataset": "categorical", "dataset_outcomes": 5}
VERIFIED = {
    **{"dataset": "regression", "dataset_d": 8, "dataset_design_seed": 12345},
    **{"n": 100, "n_synthetic": 800, "policy_whole": True},
    **{"sampling": "verify", "sampling_rule": "threshold"},
}
HELD = {  # as many rows drawn as there are real ones
    **{"dataset": "regression", "dataset_d": 8, "dataset_design_seed": 12345, "n": 96},
    **{"sampling": "verify", "sampling_rule": "threshold"},
}
PAST = {"policy": "accumulate", "policy_synthetic_fraction": 1.0}  # all synthetic, not the newest
ODD = [  # a lineage that a law speaks of, and what takes the law away
    ({}, BIASED),
    ({}, FRESH),
    ({}, MORE),
    ({}, PAST),
    (KDE, PAST),
    (LINEAR, PAST),
    (OUTCOMES, PAST),
    (HELD, PAST),
    (MIX, FRESH),
    (MIX, {"n_synthetic": 10}),  # fewer than the mix needs
    ({"policy": "accumulate"}, BIASED),
    ({"policy": "accumulate"}, FRESH),
    ({"policy": "accumulate"}, LONGER),
    ({"policy": "accumulate"}, MIX),
    ({"policy": "accumulate_subsample"}, BIASED),
    ({"policy": "accumulate_subsample"}, FRESH),
    ({"policy": "accumulate_subsample"}, LONGER),
    (SHARED, BIASED),
    ({**SHARED, **FRESH}, BIASED),
    ({**SHARED, **FRESH}, {"policy": "replace"}),
    (KDE, BIASED),
    (KDE, FRESH),
    (KDE, MORE),
    (KDE, MIX),
    (KDE, {"policy": "accumulate"}),
    (KDE, {"policy": "augment", "policy_synthetic_fraction": 0.5}),
    (KDE, {"dataset_spread": 2.0}),
    (KDE, {"dataset_d": 2}),
    (KDE, {"generator_bandwidth": "scott"}),
    (LINEAR, BIASED),
    (LINEAR, FRESH),
    (LINEAR, MORE),
    (LINEAR, MIX),
    (LINEAR, {"policy": "augment", "policy_synthetic_fraction": 0.5}),
    (LINEAR, {"n": 7}),
    (LINEAR, {"generator_noise": 0.5}),
    (LINEAR, {"dataset_noise": 0.5}),
    (LINEAR, {"generator_covariates": "fresh"}),
    (LINEAR, {"dataset_design_seed": 1}),
    (EDITED, FRESH),
    (EDITED, MORE),
    (EDITED, MIX),
    (EDITED, {"policy": "accumulate"}),
    (EDITED, {"n": 99}),
    (EDITED, {"generator_covariates": "fresh"}),
    (EDITED, {"dataset_design_seed": 1}),
    (EDITED, {"sampling_share": 1.0}),
    ({**LINEAR, "policy": "accumulate"}, FRESH),
    ({**LINEAR, "policy": "accumulate"}, LONGER),
    ({**LINEAR, "policy": "accumulate"}, MIX),
    (VERIFIED, FRESH),
    (VERIFIED, {"dataset_noise": 0.5, "generator_noise": 0.5}),
    (VERIFIED, {"generator_noise": 0.5}),
    (VERIFIED, {"generator_covariates": "fresh"}),
    (VERIFIED, {"n_synthetic": 801}),
    (VERIFIED, {"n": 8}),
    (VERIFIED, {"dataset_design_seed": None}),
    (VERIFIED, {"sampling_design": "real"}),
    (VERIFIED, {"policy_whole": False}),
    (OUTCOMES, BIASED),
    (OUTCOMES, FRESH),
    (OUTCOMES, MORE),
    (OUTCOMES, MIX),
    (OUTCOMES, {"policy": "accumulate"}),
    ({**OUTCOMES, **SHARED}, FRESH),
    ({**OUTCOMES, **SHARED}, BIASED),
    ({**OUTCOMES, **SHARED}, {"policy": "recent"}),
]


@pytest.mark.parametrize(("right", "change"), ODD, ids=str)
def test_a_law_is_claimed_only_where_it_applies(
    right: dict[str, Any], change: dict[str, Any]
) -> None:
    assert expected(spec(**right)) != {} and expected(spec(**{**right, **change})) == {}


def test_heavy_tailed_means_are_drawn_but_not_tested(tmp_path: Path) -> None:
    one = spec(n=10)
    compared = against(tidy(rows(one, tmp_path, 40), {one.id: one}), [one])
    variance = compared[compared["key"] == "moments/trace_ratio"].set_index("t")
    assert (
        variance["tested"][0]
        and not variance["tested"][40]
        and np.isfinite(variance["expected"]).all()
    )
    assert compared[compared["key"] == "moments/log_det_ratio"]["tested"].all()
    assert not compared[compared["key"] == "moments/kl"]["tested"].any()


def test_a_verified_regression_ends_at_yis_limit() -> None:
    """Yi's long run: Delta = .2, r = .1, 100 kept in each of 8 directions: .06047 (simulation
    .0605).
    """
    sampling = {"sampling_rule": "threshold", "sampling_delta": 0.2, "sampling_radius": 0.1}
    parts = {"dataset_d": 8, "dataset_design_seed": 12345, "policy_whole": True}
    one = spec("regression", n=100, n_synthetic=800, sampling="verify", **parts, **sampling)
    law = expected(one)["moments/weight_error"]
    assert law.expected(np.array([0, 30])) == pytest.approx([0.083739, 0.06047], abs=1e-5)
    assert (
        expected(
            spec(
                "regression",
                n=100,
                n_synthetic=800,
                sampling="verify",
                **{**parts, "policy_whole": False},
                **sampling,
            )
        )
        == {}
    )


def test_too_few_replicates_are_not_tested(tmp_path: Path) -> None:
    one = spec(dataset_replicates=5)
    assert not against(tidy(rows(one, tmp_path, 3), {one.id: one}), [one])["tested"].any()


def test_a_z_score_takes_the_larger_of_both_standard_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """100 replicates whose sd is 1 by the law: its standard error is 0.1, the sample's another."""
    law = Law(lambda t: np.ones(np.shape(t)), lambda t: np.ones(np.shape(t)), "by hand", until=3)
    monkeypatch.setattr("analysis.theory.laws.expected", lambda _: {"moments/kl": law})
    values = {0: [2.0, 3.0, 0.5, np.nan, 9.0], 1: [2.0, -3.0, 0.5, 1, 1]}
    specs = [replace(spec(dataset_replicates=100), seed=seed) for seed in values]
    frames = [
        pd.DataFrame(
            {"t": range(5), "value": values[one.seed], "se": [0.5, 0.05, np.nan, 0.5, 0.5]}
        ).assign(lineage=one.id, cell="c", label="replace", key="moments/kl", seed=one.seed)
        for one in specs
    ]
    both = against(pd.concat(frames, ignore_index=True), specs)
    found = both[both["seed"] == 0]
    assert found["se"].tolist() == pytest.approx([0.5, 0.1, 0.1, 0.5, 0.5])
    assert found["z"].tolist() == pytest.approx([2, 20, -5, np.nan, np.nan], nan_ok=True)
    assert found["tested"].tolist() == [True, True, True, False, False]
    (worst,) = worst_z(both).to_dict("records")
    assert worst["z"] == pytest.approx(-40) and (worst["t"], worst["generations"]) == (1, 7)
    first, second = alarms(both)
    assert first.startswith("replace, seed 1: moments/kl at generation 1 is -3") and "-40" in first
    assert second.startswith("replace, seed 0") and second.endswith("z = +20.0")
