"""Which figures a sweep has: each with its title, the numbers behind it, and how to draw it at a
width.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from analysis.collapse import lacks
from analysis.collapse.gain import LOSS, gains
from analysis.collapse.survival import first_passages, hazard
from analysis.frame.tables import over_seeds
from analysis.frame.tidy import REPORTS
from analysis.plots import curves as plots
from analysis.plots import gain as plots_gain
from analysis.plots import heat as plots_heat
from analysis.plots import lacks as plots_lacks
from analysis.plots import passage as plots_passage
from analysis.plots import threshold as plots_threshold
from analysis.report import continual
from analysis.report.findings import COLLAPSE, CURVES, DETAILS, LACKS, Findings, Shown
from analysis.report.fits import fitted
from analysis.report.pictures import latent, samples, tasks
from engine._tasks import of_key as task_of
from engine.registry import key_of
from engine.settings import CollapseRule
from engine.store.keys import BESIDE, metric_of
from engine.store.store import Store

HELPERS = re.compile(
    r"/(class_\d+|task_\d+|joint|ceiling|chance|excess|coverage|relative|truth"
    rf"|{'|'.join(BESIDE)})$"
)
MOST_CURVES = 14


def figures(findings: Findings, store: Store, *, pictures: bool = True) -> Iterator[Shown]:
    """All figures, in the order of the page.  pictures: those that need samples, too."""
    if findings.frame.empty:
        return
    yield from continual.figures(findings)
    if pictures:
        yield from samples(findings, store)
    yield from _lacks(findings)
    yield from _collapse(findings)
    yield from _gain(findings)
    yield from _curves(findings)
    if pictures:
        yield from (tasks if findings.kept else latent)(findings, store)


# ---- what generation 0 lacks ---------------------------------------------------------------------


def _lacks(findings: Findings) -> Iterator[Shown]:
    """Nothing where no founder lacks any variance, or no generation follows."""
    cells = findings.lacks
    if cells.empty or cells["t"].max() == 0 or lacks.lacking(cells).empty:
        return
    alt = "Drawn over held-out variance by generation, and what the founder's ratio predicts."
    draw = functools.partial(_ratios, cells)
    yield Shown("lacks", LACKS, alt, findings.ratios, draw)


def _ratios(cells: pd.DataFrame, width: float) -> Figure:
    return plots_lacks.lacks(cells, width=width)


# ---- curves --------------------------------------------------------------------------------------


def keys_shown(frame: pd.DataFrame, first: str = "") -> list[str]:
    """The metric keys that deserve a figure: the collapse rule's first, no helpers of another key
    and none of one task; then what fitting and sampling told; of all where it changes.
    """
    known = _candidates(frame)
    if first and task_of(first) is not None and (frame["key"] == first).any():
        known = [first, *known]
    keys = [k for k in known if k == first or k not in constants(frame)]
    keys = [k for k in keys if k not in (lacks.TOTAL, lacks.WITHIN) or k == first]  # its own figure
    told = [k for k in keys if metric_of(k) in REPORTS]
    return sorted(keys, key=lambda k: (k != first, k in told))[:MOST_CURVES]


def _candidates(frame: pd.DataFrame) -> list[str]:
    return [k for k in sorted(map(str, frame["key"].unique())) if k and not HELPERS.search(k)]


def constants(frame: pd.DataFrame) -> dict[str, float]:
    """Keys that have one value everywhere, with it: no figure."""
    known = frame[frame["key"].isin(_candidates(frame))]
    own = known.groupby(known["key"].astype(str))["value"].agg(["nunique", "first", "size"])
    same = own[(own["nunique"] == 1) & (own["size"] > 1)]
    return {str(key): float(value) for key, value in same["first"].items()}


def undrawn(findings: Findings) -> list[str]:
    """What the page has no figure of, in sentences."""
    frame, rule = findings.frame, findings.sweep.collapse
    if frame.empty:
        return []
    first = rule.metric if rule else ""
    same = {k: v for k, v in constants(frame).items() if k != first}
    said = [f"{key} is {value:g}" for key, value in same.items()]
    found = [f"No figure of what is the same everywhere: {', '.join(said)}."] if said else []
    own = {lacks.TOTAL, lacks.WITHIN, *keys_shown(frame, first)}
    rest = set(_candidates(frame)) - set(same) - own
    more = f"No figure of {', '.join(sorted(rest))}, for lack of room: `ouro export` has all rows."
    return [*found, more] if rest else found


def _curves(findings: Findings) -> Iterator[Shown]:
    frame, rule = findings.frame, findings.sweep.collapse
    for key in keys_shown(frame, rule.metric if rule else ""):
        shown = curve_of(findings, key)
        mapped = key == LOSS or metric_of(key) in REPORTS
        many = shown.numbers["cell"].nunique() > plots.MOST_PANELS
        if mapped and shown.numbers["t"].max() == 1 and many:
            continue  # the gain map shows it, and two points are no curve
        yield shown
    for key in (
        (lacks.TOTAL, lacks.WITHIN) if findings.kept else ()
    ):  # of which nothing is predicted
        if (frame["key"] == key).any():
            yield replace(curve_of(findings, key), section=DETAILS)


def curve_of(findings: Findings, key: str) -> Shown:
    """The curve of one key over the generations."""
    frame, rule = findings.frame, findings.sweep.collapse
    table = over_seeds(frame, key)
    compared = findings.laws[findings.laws["key"] == key]
    law = _expected(compared)
    judged = rule is not None and key == rule.metric
    level = _level(findings) if judged else None
    lineages = frame.loc[frame["key"] == key, ["cell", "t", "value"]]
    draw = functools.partial(
        plots.curves,
        table,
        name=key,
        level=level,
        theory=law,
        note=" ".join([*_said_of_tasks(findings, key), _said_of(compared)]).strip(),
        points=lineages,
        marks_at={} if findings.kept else _read_against(frame, key),  # which tasks move
        by=", ".join([*_unit(key), *findings.extractors.get(metric_of(key), ())]),
    )
    numbers = table.merge(law, on=["cell", "t"], how="left") if law is not None else table
    section = DETAILS if metric_of(key) in REPORTS else CURVES
    alt = f"{key} over the generations, by cell."
    return Shown(f"curve_{file_of(key)}", section, alt, numbers, lambda w: draw(width=w))


def _said_of_tasks(findings: Findings, key: str) -> list[str]:
    """That generations are not about the same data, where each adds a task."""
    if not findings.kept or metric_of(key) in REPORTS or task_of(key) is not None:
        return []
    return ["Each generation adds a task, so it is about more classes than the one before."]


def _unit(key: str) -> list[str]:
    """Of nats and bits, which would be taken for each other; nothing of other keys."""
    known = key_of(key)
    return [known.unit] if known is not None and known.unit.startswith(("nats", "bits")) else []


def _read_against(frame: pd.DataFrame, key: str) -> dict[str, float]:
    """The ceiling of a key and its chance, where it has them: means over all lineages."""
    found = {}
    for name in ("ceiling", "chance"):
        values = frame.loc[frame["key"] == f"{key}/{name}", "value"].dropna()
        if len(values):
            found[name] = float(values.mean())
    return found


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


def _level(findings: Findings) -> float | None:
    """The value at which collapse begins, where it is (nearly) the same for all lineages."""
    rule, outcomes = findings.sweep.collapse, findings.outcomes
    if rule is None or outcomes is None or rule.slope is not None:
        return None
    reference = outcomes["reference"].dropna()
    if reference.empty:
        return None
    least, most = float(reference.min()), float(reference.max())
    apart = most > 1.5 * least if rule.is_ratio else most - least > rule.bound / 2
    return None if apart else rule.begins(float(reference.mean()))


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
    words = findings.sweep.rule_words()
    swept = answers[answers["verdict"] != "one fraction"]
    if len(swept):
        own = shares[shares["group"].isin(swept["group"])]
        alt = (
            "For every workflow, where along the synthetic fraction collapse begins, with its "
            "interval."
        )
        yield Shown(
            "phase_diagram",
            COLLAPSE,
            alt,
            swept,
            lambda w: plots_threshold.phase_diagram(own, swept, rule=words, width=w),
        )
        if outcomes["y"].notna().any():
            yield _response(outcomes, swept, rule, findings.sweep.judged_at)
    yield from _passages(findings, words)
    alt = "Generator by synthetic fraction for every policy: share of lineages that collapsed."
    along = shares["synthetic_fraction"].notna().any() or not findings.kept
    if along and not findings.sweep.threshold:  # a search's fractions are no grid
        rows = shares[["dataset", "generator", "n_real", "sampling"]].drop_duplicates()
        yield Shown(
            "heat_map",
            COLLAPSE if len(rows) > 1 else DETAILS,
            alt,
            shares,
            lambda w: plots_heat.heat_map(shares, rule=words, width=w),
        )


def _response(
    outcomes: pd.DataFrame, swept: pd.DataFrame, rule: CollapseRule, n: int | None
) -> Shown:
    fits = fitted(outcomes, swept)
    alt = "How far each lineage went towards collapse, against its synthetic fraction."
    parts = [outcomes.assign(row="lineage"), fits.assign(row="fitted")]
    numbers = pd.concat(parts, ignore_index=True)

    def draw(width: float) -> Figure:
        return plots_threshold.response(outcomes, swept, fits, rule=rule, n=n, width=width)

    return Shown("response", COLLAPSE, alt, numbers, draw)


def _passages(findings: Findings, words: str) -> Iterator[Shown]:
    """First passage and the state at the last generation."""
    passages, states = findings.passages, findings.states
    if passages is None or states is None or not passages["event"].any():
        return
    curves = first_passages(passages)
    last = states.drop(columns=["lineages", "seeds"])
    numbers = curves.merge(last, on=["group", "at", "upto"], how="left")
    alt = (
        "Share of lineages that has not passed the level by each generation, and that is not past "
        "it at the last, per synthetic fraction."
    )

    def draw(width: float) -> Figure:
        return plots_passage.survival(curves, states, rule=words, width=width)

    yield Shown("survival", COLLAPSE, alt, numbers, draw)
    risks = hazard(passages)
    if risks["synthetic_fraction"].nunique() > 1 and not findings.sweep.threshold:
        alt = "First passages per generation at risk, against the synthetic fraction."
        yield Shown(
            "hazard",
            DETAILS,
            alt,
            risks,
            lambda w: plots_passage.hazards(risks, rule=words, width=w),
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
