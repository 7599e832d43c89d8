"""Which closed form of `analysis.theory` a lineage must follow, and how far its rows are from it,
in standard errors.

    expected(spec) -> laws by metric key;   against(frame, specs) -> one row per lineage, key and
    generation, with z

z = (mean over replicates - expected) / s.e., where s.e. is the larger of the sample's and the law's
own: when nearly all chains have collapsed the sample no longer shows the spread that the law has
(the mean of v_t over a few chains mostly sits below E v_t).  Where that spread is unknown or
heavy-tailed the law is drawn but not tested (`tested` False).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.frame.tables import records
from analysis.theory import discrete, gaussian, verifier
from engine.parts import rounded
from engine.registry import describe
from engine.spec import LineageSpec, Part

Times = np.ndarray  # generations [k]
Formula = Callable[[Times], Any]
LEAST_REPLICATES = 20
FAR_MORE = 50  # times as many pairs as weights, where a law is of the first order in d / n
MOST_SPREAD = 0.25  # of sum 2/n over the fits: beyond, means of v_t are heavy-tailed
ALARM = 5.0  # |z| at which `ouro run` warns


@dataclass(frozen=True)
class Law:
    """E of a metric key at generation t; sd: of one replicate; until: up to which generation a
    z-score means something.
    """

    expected: Formula
    sd: Formula
    source: str
    until: float = np.inf


# ---- which law holds -----------------------------------------------------------------------------


def expected(spec: LineageSpec) -> dict[str, Law]:
    """The laws of a lineage by metric key; empty where none is known."""
    find = {
        ("gaussian", "gaussian"): _gaussian,
        ("gaussian", "kde"): _kde,
        ("regression", "linear_regression"): _regression,
        ("categorical", "categorical"): _categorical,
    }.get((spec.dataset.name, spec.generator.name))
    return find(spec) if find is not None else {}


def _param(part: Part, name: str) -> Any:
    """A parameter's value, given or by default."""
    known = describe(part.kind, part.name).parameters
    return part.params.get(name, known[name].default if name in known else None)


def _mean_error(spec: LineageSpec) -> tuple[Formula, str] | None:
    """E |m_t - mu|^2 per unit of tr Sigma for fits with divisor n, plain sampling."""
    n, drawn, policy, share = spec.n_real, spec.n_drawn, spec.policy.name, spec.synthetic_fraction
    if spec.arrival == "fresh":
        if policy != "augment" or share is None:
            return None
        m = _synthetic_rows(spec)
        return (lambda t: gaussian.fresh_mean_error(n, m, t, n_first=n)), "fresh real data, augment"
    if policy == "replace" and share == 1 and drawn == n:
        return (lambda t: gaussian.replace_mean_error(n, t)), "replace"
    if policy == "replace" and share is not None and 0 < share < 1 and drawn >= rounded(share, n):
        return (lambda t: gaussian.mix_mean_error(n, rounded(share, n), t)), "constant-size mix"
    if policy == "accumulate" and share is None and drawn == n:
        return (lambda t: gaussian.accumulate_mean_error(n, t)), "accumulate"
    if policy == "accumulate_subsample" and drawn == n:
        return (lambda t: gaussian.subsample_mean_error(n, t)), "accumulate-subsample"
    if policy == "augment" and share is not None:
        m = _synthetic_rows(spec)
        return (lambda t: gaussian.augment_mean_error(n, m, t)), "augment"
    return None


def _synthetic_rows(spec: LineageSpec) -> int:
    """Rows of the newest generation that augment adds."""
    recipe = spec.policy.make().recipe({-1: spec.n_real, 0: spec.drawn(0)}, 1)
    return int(sum(pick.count for pick in recipe if pick.sources != (-1,)))


def _gaussian(spec: LineageSpec) -> dict[str, Law]:
    d, n = int(_param(spec.dataset, "d")), spec.n_real
    spread = np.broadcast_to(np.asarray(_param(spec.dataset, "spread"), dtype=float), d)
    trace = spread.sum()
    evenness = np.sqrt(
        np.square(spread).sum() / trace**2 + 1 / n
    )  # 1/sqrt(directions): d of them, and at most n - 1 samples span
    if _param(spec.generator, "divisor") != "n" or spec.sampling.name != "plain":
        return {}
    found = _mean_error(spec)
    if found is None:
        return {}
    error, source = found
    most = _until(
        lambda t: 2 * error(t)
    )  # the mean's error is also the variance lost: how far the chain has wandered

    def sd_of_error(t: Times) -> Any:
        return np.sqrt(2) * trace * evenness * error(t)

    def sd_of_variance(t: Times) -> Any:
        return np.sqrt(2 * error(t)) * evenness

    laws = {
        "moments/mean_error": Law(lambda t: trace * error(t), sd_of_error, source, most),
        "moments/trace_ratio": Law(lambda t: 1 - error(t), sd_of_variance, source, most),
    }
    return laws | (_replace_only(n, d) if source == "replace" else {})


def _until(spread: Formula) -> float:
    """The last generation at which a chain's spread is still small."""
    t = np.arange(2000)
    wide = np.flatnonzero(spread(t) > MOST_SPREAD)
    return float(wide[0] - 1) if len(wide) else np.inf


def _replace_only(n: int, d: int) -> dict[str, Law]:
    if n <= d + 2:
        return {}
    log_det = Law(
        lambda t: gaussian.replace_log_det(n, t, d=d),
        lambda t: np.sqrt(gaussian.replace_log_det_variance(n, t, d=d)),
        "replace",
    )
    kl = Law(
        lambda t: gaussian.replace_kl(n, t, d=d),
        lambda t: np.full(np.shape(t), np.nan),
        "replace",
        until=-1,
    )
    return {"moments/log_det_ratio": log_det, "moments/kl": kl}


def _kde(spec: LineageSpec) -> dict[str, Law]:
    """The drawn points' variance: kernels of generation t + 1 stand on what generation t drew."""
    h, n = _param(spec.generator, "bandwidth"), spec.n_real
    unit = (
        _param(spec.dataset, "spread") == 1.0
        and _param(spec.dataset, "d") == 1
        and isinstance(h, float | int)
    )
    plain = spec.sampling.name == "plain" and spec.arrival == "fixed" and spec.n_drawn == n
    if not (unit and plain and spec.policy.name == "replace" and spec.synthetic_fraction == 1):
        return {}

    def variance(t: Times) -> Any:
        return gaussian.kde_replace(n, h, np.asarray(t) + 1)[0]

    until = MOST_SPREAD * n / 2
    trace = Law(
        variance, lambda t: variance(t) * np.sqrt(2 * (np.asarray(t) + 2) / n), "replace", until
    )
    return {"moments/trace_ratio": trace}


def _regression(spec: LineageSpec) -> dict[str, Law]:
    n, d, noise = spec.n_real, int(_param(spec.dataset, "d")), float(_param(spec.dataset, "noise"))
    same = (
        _param(spec.generator, "covariates") == "same" and _param(spec.generator, "noise") == noise
    )
    fixed = (
        spec.arrival == "fixed"
        and spec.sampling.name == "plain"
        and spec.n_drawn == n
        and n > d + 3
    )
    if spec.sampling.name == "verify":
        return _verified(spec, d) if same and noise == 1 else {}
    if spec.sampling.name == "edit":
        return _edited(spec, d, noise) if same else {}
    if not (same and fixed) or _param(spec.dataset, "design_seed") is not None:
        return {}
    if spec.policy.name == "replace" and spec.synthetic_fraction == 1:
        law: Formula = lambda t: noise**2 * gaussian.regression_replace(n, d, t)  # noqa: E731
    elif spec.policy.name == "accumulate" and spec.synthetic_fraction is None:
        law = lambda t: noise**2 * gaussian.regression_accumulate(n, d, t)  # noqa: E731
    else:
        return {}
    return {"moments/weight_error": Law(law, lambda t: np.sqrt(2 / d) * law(t), spec.policy.name)}


def _edited(spec: LineageSpec, d: int, noise: float) -> dict[str, Law]:
    """Labels redrawn at the same covariates, n >> d."""
    n, whole = spec.n_real, spec.policy.name == "replace" and spec.synthetic_fraction == 1
    alike = spec.arrival == "fixed" and spec.n_drawn == n >= FAR_MORE * d
    if not (whole and alike) or _param(spec.dataset, "design_seed") is not None:
        return {}
    of, share, again = (_param(spec.sampling, name) for name in ("of", "share", "again"))
    growth: Formula = lambda t: gaussian.edit_random(share, t)  # noqa: E731
    until = np.inf
    if of == "real" and share < 1:
        growth = lambda t: gaussian.edit_of_real(share, t)  # noqa: E731
    elif of == "training" and not again:
        growth = lambda t: gaussian.edit_disjoint_steps(share, t)  # noqa: E731
        until = np.floor(1 / share) if share else np.inf
    elif of == "real":
        return {}
    first = noise**2 * gaussian.regression_first_error(n, d)

    def law(t: Times) -> Any:
        return first * growth(t)

    return {"moments/weight_error": Law(law, lambda t: np.sqrt(2 / d) * law(t), "edit", until)}


def _verified(spec: LineageSpec, d: int) -> dict[str, Law]:
    """Yi's verified chain on one design; the spread of a replicate is the rows' own."""
    rule, delta, radius, slack, design = (
        _param(spec.sampling, k) for k in ("rule", "delta", "radius", "slack", "design")
    )
    seed, whole = (
        _param(spec.dataset, "design_seed"),
        _param(spec.policy, "whole") or spec.n_drawn == spec.n_real,
    )
    if (rule, design, spec.policy.name, spec.synthetic_fraction) != (
        "threshold",
        "block",
        "replace",
        1,
    ) or not whole:
        return {}
    if seed is None or spec.arrival != "fixed" or spec.n_drawn % d or spec.n_real <= d:
        return {}
    x0, offset = (
        verifier.yi_design(spec.n_real, d, seed),
        delta * verifier.yi_direction(d),
    )
    own_slack = verifier.CODE_SLACK if slack is None else slack

    def law(t: Times) -> Any:
        errors = verifier.verified_errors(
            x0, offset, radius, spec.n_drawn // d, int(np.max(t)), slack=own_slack
        )
        return errors[np.asarray(t)]

    return {"moments/weight_error": Law(law, lambda t: np.full(np.shape(t), np.nan), "verified")}


def _categorical(spec: LineageSpec) -> dict[str, Law]:
    n, share = spec.n_real, spec.synthetic_fraction
    if spec.arrival != "fixed" or spec.sampling.name != "plain":
        return {}
    truth = float(np.square(spec.dataset.make().probabilities_).sum())
    if spec.policy.name == "replace" and share == 1 and spec.n_drawn == n:
        law: Formula = lambda t: discrete.replace_sum_p2(n, t, truth)  # noqa: E731
    elif spec.policy.name == "augment" and share is not None and 0 < share < 1:
        m = _synthetic_rows(spec)
        law = lambda t: discrete.augment_sum_p2(n, m, t, truth)  # noqa: E731
    else:
        return {}

    def most(t: Times) -> Any:  # the largest sd of a number in [0, 1] with this mean
        return np.sqrt(law(t) * (1 - law(t)))

    return {"discrete/sum_p2": Law(law, most, spec.policy.name)}


# ---- how far the rows are from it ----------------------------------------------------------------


NAMED = ["lineage", "cell", "label", "key", "seed", "t", "value"]  # columns of a frame


def against(frame: pd.DataFrame, specs: Iterable[LineageSpec]) -> pd.DataFrame:
    """One row per lineage, key and generation that a law speaks of: value, expected, se, z,
    tested, law.
    """
    rows_of = frame.groupby(["lineage", "key"], observed=True, sort=False).indices
    t = frame["t"].to_numpy()
    value, se = (frame[name].to_numpy(dtype=float) for name in ("value", "se"))
    picked, found = [np.zeros(0, dtype=int)], list[tuple[Law, _Compared]]()
    laws: dict[str, dict[str, Law]] = {}
    for spec in specs:
        # a regression's own covariates are in its law; all others are those of the cell
        whose = spec.id if spec.dataset.name == "regression" else spec.cell_id
        if whose not in laws:
            laws[whose] = expected(spec)
        for key, law in laws[whose].items():
            rows = rows_of.get((spec.id, key))
            if rows is not None:
                replicates = int(_param(spec.dataset, "replicates") or 1)
                rows = np.asarray(rows)
                picked.append(rows)
                found.append((law, _compared(t[rows], value[rows], se[rows], law, replicates)))
    named = frame[NAMED].iloc[np.concatenate(picked)].reset_index(drop=True)
    named = named.astype(dict.fromkeys(("lineage", "cell", "label", "key"), str))
    empty = np.zeros((4, 0))
    means, ses, zs, tested = np.concatenate([empty, *(own for _, own in found)], axis=1)
    law_of = [law.source for law, own in found for _ in own[0]]
    return named.assign(expected=means, se=ses, z=zs, tested=tested.astype(bool), law=law_of)


_Compared = np.ndarray  # [4, k]: expected, se, z, tested


def _compared(
    t: np.ndarray, value: np.ndarray, se: np.ndarray, law: Law, replicates: int
) -> _Compared:
    mean = np.broadcast_to(law.expected(t), t.shape)
    se = np.fmax(se, np.broadcast_to(law.sd(t), t.shape) / np.sqrt(replicates))
    tested = (t <= law.until) & (se > 0) & ~np.isnan(value) & (replicates >= LEAST_REPLICATES)
    z = np.divide(value - mean, se, out=np.full(len(t), np.nan), where=tested)
    return np.stack([mean, se, z, tested])


def alarms(compared: pd.DataFrame, limit: float = ALARM) -> list[str]:
    """A sentence for every lineage and key that is further than `limit` standard errors from its
    law; the worst first.
    """
    odd = compared[compared["z"].abs() > limit]
    if odd.empty:
        return []
    worst = odd.loc[odd.groupby(["lineage", "key"])["z"].apply(lambda z: z.abs().idxmax())]
    worst = worst.reindex(worst["z"].abs().sort_values(ascending=False).index)
    return [
        f"{row.label}, seed {row.seed}: {row.key} at generation {row.t} is {row.value:.6g}, "
        f"theory ({row.law}) says "
        f"{row.expected:.6g}: z = {row.z:+.1f}"
        for row in records(worst)
    ]


def worst_z(compared: pd.DataFrame) -> pd.DataFrame:
    """Per label and key: the number of tested generations, the largest |z| and where it is."""
    tested = compared[compared["tested"]]
    if tested.empty:
        return pd.DataFrame(columns=["label", "key", "law", "generations", "z", "t"])
    at = tested.groupby(["cell", "key"], sort=False)["z"].apply(lambda z: z.abs().idxmax())
    worst = tested.loc[at.to_numpy(), ["cell", "label", "key", "law", "z", "t"]]
    counts = tested.groupby(["cell", "key"]).size().rename("generations").reset_index()
    return worst.merge(counts, on=["cell", "key"]).drop(columns="cell")


def check(
    frame: pd.DataFrame, specs: Mapping[str, LineageSpec] | Iterable[LineageSpec]
) -> list[str]:
    """What `ouro run` says at its end about closed-form families: nothing, unless |z| > 5
    somewhere.
    """
    return alarms(against(frame, specs.values() if isinstance(specs, Mapping) else specs))
