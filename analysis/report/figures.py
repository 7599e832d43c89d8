"""Which figures a sweep has: each with its title, the numbers behind it, and how to draw it at a
width.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.collapse.functional import functional, shown_key, times
from analysis.collapse.gain import LOSS, gains
from analysis.collapse.survival import hazard, kaplan_meier
from analysis.frame.tables import collapse_share, over_seeds, told_apart
from analysis.frame.tidy import REPORTS
from analysis.plots import collapse as plots_collapse
from analysis.plots import curves as plots
from analysis.plots import gain as plots_gain
from analysis.plots import samples as plots_samples
from analysis.report import samples as specimens
from analysis.report.answers import grouped, thresholds
from analysis.theory.laws import against
from analysis.threshold.workflows import Workflow
from engine.spec import LineageSpec, Sweep
from engine.store.keys import BESIDE, metric_of
from engine.store.store import Store

HELPERS = re.compile(
    rf"/(class_\d+|ceiling|chance|excess|coverage|relative|truth|{'|'.join(BESIDE)})$"
)
MOST_CURVES = 14
Specs = Mapping[str, LineageSpec]  # by the name in the figures


@dataclass(frozen=True)
class Shown:
    """A figure of the report."""

    name: str  # of its files
    section: str
    alt: str  # what it shows, for those who cannot see it
    numbers: pd.DataFrame
    draw: Callable[[float], Figure]


@dataclass(frozen=True)
class Findings:
    """What the figures and the page have in common, computed once."""

    sweep: Sweep
    frame: pd.DataFrame
    outcomes: pd.DataFrame | None  # with a column group
    answers: pd.DataFrame | None
    shares: pd.DataFrame | None
    laws: pd.DataFrame

    @classmethod
    def of(cls, sweep: Sweep, frame: pd.DataFrame, searched: Iterable[Workflow] = ()) -> Findings:
        """searched: the workflows of a search, which say how it went about each."""
        laws = against(frame, sweep.lineages)
        frame = told_apart(frame, sweep.lineages)
        if not sweep.collapse or frame.empty:
            return cls(sweep, frame, None, None, None, laws)
        outcomes = grouped(functional(frame, sweep.collapse, generations=sweep.generations))
        names = outcomes.drop_duplicates("cell").set_index("cell")["group"]
        designs = {own.label: own.design for own in searched}
        shares = collapse_share(outcomes)
        shares = shares.assign(group=[names[cell] for cell in shares["cell"]])
        return cls(sweep, frame, outcomes, thresholds(outcomes, designs), shares, laws)


def figures(findings: Findings, store: Store, *, pictures: bool = True) -> Iterator[Shown]:
    """All figures, in the order of the page.  pictures: those that need samples, too."""
    if findings.frame.empty:
        return
    yield from _collapse(findings)
    yield from _gain(findings)
    yield from _curves(findings)
    if pictures:
        yield from _samples(findings, store)


# ---- curves --------------------------------------------------------------------------------------


def keys_shown(frame: pd.DataFrame, first: str = "") -> list[str]:
    """The metric keys that deserve a figure: the collapse rule's first, no helpers of another key;
    then what fitting and sampling told, where it changes.
    """
    keys = [k for k in sorted(map(str, frame["key"].unique())) if k and not HELPERS.search(k)]
    told = [k for k in keys if metric_of(k) in REPORTS]
    same = {k for k in told if frame.loc[frame["key"] == k, "value"].nunique() < 2}
    return sorted((k for k in keys if k not in same), key=lambda k: (k != first, k in told))[
        :MOST_CURVES
    ]


def _curves(findings: Findings) -> Iterator[Shown]:
    frame, rule = findings.frame, findings.sweep.collapse
    for key in keys_shown(frame, shown_key(frame, rule.metric) if rule else ""):
        shown = curve_of(findings, key)
        mapped = key == LOSS or metric_of(key) in REPORTS
        many = shown.numbers["cell"].nunique() > plots.MOST_PANELS
        if mapped and shown.numbers["t"].max() == 1 and many:
            continue  # the gain map shows it, and two points are no curve
        yield shown


def curve_of(findings: Findings, key: str) -> Shown:
    """The curve of one key over the generations."""
    frame, rule = findings.frame, findings.sweep.collapse
    table = over_seeds(frame, key)
    compared = findings.laws[findings.laws["key"] == key]
    law = _expected(compared)
    judged = rule is not None and key == shown_key(frame, rule.metric)
    level = _level(findings) if judged else None
    draw = functools.partial(_curve, table, key, level, law, _said_of(compared))
    numbers = table.merge(law, on=["cell", "t"], how="left") if law is not None else table
    alt = f"{key} over the generations, by cell."
    return Shown(f"curve_{file_of(key)}", "Over the generations", alt, numbers, draw)


def _expected(compared: pd.DataFrame) -> pd.DataFrame | None:
    """What theory says of each cell, over its seeds."""
    return (
        compared.groupby(["cell", "t"], as_index=False)[["expected", "se", "z"]].mean()
        if len(compared)
        else None
    )


def _said_of(compared: pd.DataFrame) -> str:
    tested = compared[compared["tested"].astype(bool)]
    if tested.empty:
        return "Theory is drawn where it is known." if len(compared) else ""
    return (
        f"Against theory: largest |z| = {tested['z'].abs().max():.1f} in {len(tested):,} "
        "tested points."
    )


def _curve(
    table: pd.DataFrame,
    key: str,
    level: float | None,
    law: pd.DataFrame | None,
    said: str,
    width: float,
) -> Figure:
    return plots.curves(table, name=key, level=level, theory=law, note=said, width=width)


def _level(findings: Findings) -> float | None:
    """The value at which collapse begins, where it is (nearly) the same for all lineages."""
    rule, outcomes = findings.sweep.collapse, findings.outcomes
    if rule is None or outcomes is None or rule.slope is not None:
        return None
    reference = outcomes["reference"].dropna()
    if reference.empty or reference.max() > 1.5 * reference.min():
        return None
    return float(reference.mean()) * rule.bound


def file_of(key: str) -> str:
    """What the file of a key's figure is called."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", key)


# ---- collapse ------------------------------------------------------------------------------------


def _collapse(findings: Findings) -> Iterator[Shown]:
    outcomes, answers, shares, rule = (
        findings.outcomes,
        findings.answers,
        findings.shares,
        findings.sweep.collapse,
    )
    if outcomes is None or answers is None or shares is None or rule is None:
        return
    words, section = rule.words(), "Where collapse begins"
    swept = answers[answers["verdict"] != "one fraction"]
    if len(swept):
        own = shares[shares["group"].isin(swept["group"])]
        alt = (
            "For every workflow, where along the synthetic fraction collapse begins, with its "
            "interval."
        )
        yield Shown(
            "phase_diagram",
            section,
            alt,
            swept,
            lambda w: plots_collapse.phase_diagram(own, swept, rule=words, width=w),
        )
        alt = "How far each lineage went towards collapse, against its synthetic fraction."
        response = functools.partial(_response, outcomes, swept, words, rule.quantity())
        yield Shown("response", section, alt, outcomes, response)
    alt = "Generator by synthetic fraction for every policy: share of lineages that collapsed."
    if not findings.sweep.threshold:  # a search's fractions are no grid
        yield Shown(
            "heat_map",
            section,
            alt,
            shares,
            lambda w: plots_collapse.heat_map(shares, rule=words, width=w),
        )
    yield from _survival(findings, words)


def _response(
    outcomes: pd.DataFrame, swept: pd.DataFrame, rule: str, y: str, width: float
) -> Figure:
    return plots_collapse.response(outcomes, swept, rule=rule, quantity=y, width=width)


def _survival(findings: Findings, words: str) -> Iterator[Shown]:
    assert findings.sweep.collapse is not None
    found = grouped(
        times(findings.frame, findings.sweep.collapse, generations=findings.sweep.generations)
    )
    if not found["event"].any():
        return
    by = "policy" if found["policy"].nunique() > 1 else "group"
    curves = {
        str(name): kaplan_meier(own) for name, own in found.groupby(by, sort=False, observed=True)
    }
    numbers = pd.concat(
        [curve.assign(group=name) for name, curve in curves.items()], ignore_index=True
    )
    alt = "Share of lineages that has not collapsed, by generation."

    def draw(width: float) -> Figure:
        return plots_collapse.survival(dict(list(curves.items())[:8]), rule=words, width=width)

    yield Shown("survival", "Where collapse begins", alt, numbers, draw)
    risks = hazard(found)
    if risks["synthetic_fraction"].nunique() > 1 and not findings.sweep.threshold:
        alt = "Collapses per generation at risk, against the synthetic fraction."
        yield Shown(
            "hazard",
            "Where collapse begins",
            alt,
            risks,
            lambda w: plots_collapse.hazards(risks, rule=words, width=w),
        )


# ---- verified data -------------------------------------------------------------------------------


def _gain(findings: Findings) -> Iterator[Shown]:
    """Where a grid varies both parameters of Yi's verifier."""
    table = gains(findings.sweep.lineages, findings.frame, findings.laws)
    if table["gain"].notna().any():
        alt = "Gain of retraining on verified samples, over the verifier's bias and selectivity."
        yield Shown(
            "gain_map",
            "What verification gains",
            alt,
            table,
            lambda w: plots_gain.gain_map(table, width=w),
        )


# ---- samples -------------------------------------------------------------------------------------


def _samples(findings: Findings, store: Store) -> Iterator[Shown]:
    specs = specimens.chosen(findings.sweep, findings.frame)
    gives = {spec.dataset.constant("GIVES") for spec in specs.values()}
    section, nothing = (
        "The samples",
        pd.DataFrame({"lineage": [s.id for s in specs.values()], "shown as": list(specs)}),
    )
    if gives == {"images"}:
        frames = specimens.strips(findings.sweep, store, specs)
        classes = next(iter(specs.values())).dataset.traits.classes or 0
        if frames:
            alt = "Samples of one lineage per workflow, a row per generation."
            yield Shown(
                "film",
                section,
                alt,
                nothing,
                lambda w: plots_samples.film(frames, classes=min(classes, 20), width=w),
            )
        yield from _latent(findings, store, specs)
    elif gives == {"points"}:
        yield from _densities(findings, store, specs, nothing)


def _densities(
    findings: Findings, store: Store, specs: Specs, nothing: pd.DataFrame
) -> Iterator[Shown]:
    first = next(iter(specs.values()))
    same = {
        name: spec
        for name, spec in specs.items()
        if (spec.dataset, spec.n_real) == (first.dataset, first.n_real)
    }
    frames = specimens.strips(findings.sweep, store, same, 4)
    if frames:
        real = specimens.real_of(first)
        alt = "Density of the samples of several generations over that of the real data."
        yield Shown(
            "density",
            "The samples",
            alt,
            nothing,
            lambda w: plots_samples.densities(frames, real, width=w),
        )


def _latent(findings: Findings, store: Store, specs: Specs) -> Iterator[Shown]:
    found = specimens.latent(findings.sweep, store, specs)
    if found is None:
        return
    aligned, embedded, features = found
    section, name = (
        "Latent alignment",
        {"lenet": "LeNet trained on the real data"}.get(features, features),
    )
    alt = "How well generated samples can be told from real ones, and how far their features moved."
    yield Shown(
        "alignment",
        section,
        alt,
        aligned,
        lambda w: plots_samples.aligned(aligned, features=name, width=w),
    )
    alt = "Real and generated samples in one embedding that was fitted on real ones."
    yield Shown(
        "embedding",
        section,
        alt,
        embedded,
        lambda w: plots_samples.embedding(embedded, features=name, width=w),
    )
