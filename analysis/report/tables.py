"""The tables of the page: thresholds, first passage beside the state at the last generation,
theory, early ends, undefined values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.frame.tables import failures, undefined_values
from analysis.plots.passage import span
from analysis.report.findings import Findings
from analysis.theory.laws import worst_z
from analysis.threshold.workflows import Workflow
from engine.names import names_of
from engine.outcome.continual import Kept
from engine.outcome.control import CONFIDENCE, Control
from engine.outcome.interval import Interval
from engine.store.failures import Failure

MOST_ROWS = 60


@dataclass(frozen=True)
class Table:
    """A table of the page; cells are (text, class)."""

    title: str
    heads: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[tuple[str, str]]]
    empty: str
    note: str = ""
    more: str = ""

    @property
    def id(self) -> str:
        return anchor(self.title)


def tables_of(findings: Findings, failed: Mapping[str, Failure]) -> Iterable[Table]:
    """Every table of a sweep's page; failed: by lineage."""
    if findings.kept:
        yield table_of(
            "What is kept, in numbers",
            _kept(findings.kept),
            "no cell",
            note="Average accuracy over all tasks after the last one; forgetting: how far earlier "
            "tasks have fallen below their best; backward transfer: how far they are above where "
            "they were learnt.  Means over the seeds, in brackets Student's 95 % interval.  The "
            "distance of earlier tasks is in multiples of what real samples reach against real "
            "ones at the same n; it drifts where the interval of its growth is above nothing.",
        )
    if findings.answers is not None and findings.states is not None:
        yield table_of(
            "Thresholds",
            _thresholds(findings.answers),
            "no workflow",
            note="Of a posterior over the crossing of the state at the last generation.",
        )
        yield table_of(
            "First passage and the state at the last generation",
            _states(findings.states),
            "no lineage was judged",
            note="First passage: the first generation past the level, half of the lineages by the "
            "median.  Lineages can come back, so fewer may be past it at the last generation.  In "
            "brackets: 95 % limits over seeds, whose lineages share a founder.",
        )
    if len(findings.laws):
        worst = worst_z(findings.laws)
        worst = worst.reindex(worst["z"].abs().sort_values(ascending=False).index)
        note = (
            "The largest deviation of each closed-form cell from its law, in standard "
            "errors; |z| > 5 is an alarm."
        )
        yield table_of("Theory", worst, "no generation could be tested", note=note)
    yield table_of(
        "Failures and early ends",
        _ended(findings, failed),
        "Every lineage reached its last generation.",
    )
    yield table_of("Undefined values", undefined_values(findings.frame), "Every value is defined.")


def _kept(found: Sequence[Kept]) -> pd.DataFrame:
    """Without the columns that say nothing here."""
    rows = []
    for own in found:
        metric = own.distance or "distance"
        row = {"cell": own.label, "bound": own.bound, "seeds": len(own.chains)}
        row |= {"average accuracy": _in_words(own.accuracy, 3)}
        row |= {"forgetting": _in_words(own.forgetting, 3)}
        row |= {"backward transfer": _in_words(own.transfer, 3)}
        row |= {f"{metric} when learnt": _in_words(own.start, 2)}
        row |= {f"{metric} at the end": _in_words(own.end, 2)}
        row["bytes per class"] = "" if own.memory is None else f"{own.memory:,.0f}"
        row["drifts"] = "" if own.drifts is None else "yes" if own.drifts else "no"
        row["undefined"] = "; ".join(dict.fromkeys(map(own.why, _gaps(own))))
        rows.append(row)
    shown = pd.DataFrame(rows)
    return shown.loc[:, (shown.notna() & (shown != "")).any()]


def _gaps(own: Kept) -> list[str]:
    """Which numbers of a cell are undefined; of distances, where they are measured."""
    names = ["accuracy", "forgetting", "transfer", *(["end"] if own.distance else [])]
    return [name for name in names if getattr(own, name) is None]


def _in_words(value: Interval | None, digits: int) -> str:
    return "" if value is None else value.words(digits)


def _thresholds(answers: pd.DataFrame) -> pd.DataFrame:
    """Without the columns that say nothing here."""
    safe = ["safe", "safe_low", "safe_high"]
    names = ["group", "estimate", "low", "high", *safe, "lineages", "seeds", "needs"]
    shown = answers[names].rename(columns={"group": "workflow", "estimate": "typical"})
    return shown.loc[:, (shown.notna() & (shown != "")).any()]


def _states(states: pd.DataFrame) -> pd.DataFrame:
    """Both questions side by side, with their intervals in words."""
    shown = pd.DataFrame({"workflow": states["group"]})
    spans = [span(at, upto) for at, upto in zip(states["at"], states["upto"], strict=True)]
    shown["fraction"] = [text.removeprefix("fraction ") for text in spans]
    shown["lineages"], shown["seeds"] = states["lineages"], states["seeds"]
    shown["passed at some generation"] = states["passed"]
    shown["median first passage"] = states["median"]
    shown["share that never passed"] = _shares(states, "never")
    shown["past at the last"] = [
        f"{past} of {judged}" for past, judged in zip(states["past"], states["judged"], strict=True)
    ]
    shown["share not past at the last"] = _shares(states, "below")
    return shown.loc[:, shown.notna().any()]


def _shares(states: pd.DataFrame, name: str) -> list[str]:
    columns = states[[name, f"{name}_low", f"{name}_high"]].to_numpy(float)
    return [
        "" if math.isnan(share) else f"{share:.2f} [{low:.2f}, {high:.2f}]"
        for share, low, high in columns
    ]


def _ended(findings: Findings, failed: Mapping[str, Failure]) -> pd.DataFrame:
    names = names_of(findings.sweep)
    specs = {spec.id: spec for spec in findings.sweep.lineages}
    errors = [
        {
            "label": names.cell(specs[k]),
            "seed": specs[k].seed,
            "status": "failed",
            "reason": f"{failure.error}: {failure.message}",
            "lineage": k,
        }
        for k, failure in failed.items()
    ]
    odd = failures(findings.outcomes) if findings.outcomes is not None else pd.DataFrame()
    return (
        pd.concat([pd.DataFrame(errors), odd], ignore_index=True)
        if len(errors) or len(odd)
        else pd.DataFrame()
    )


def table_of(title: str, frame: pd.DataFrame, empty: str, note: str = "") -> Table:
    """Turn a frame into a table of the page; empty: what is said where it has no rows."""
    numeric: dict[Any, bool] = {c: pd.api.types.is_numeric_dtype(frame[c]) for c in frame.columns}
    rows = []
    for row in frame.head(MOST_ROWS).to_dict("records"):
        rows.append([(_text(v), _class(str(c), v, numeric[c])) for c, v in row.items()])
    more = f"{len(frame) - MOST_ROWS:,} more rows." if len(frame) > MOST_ROWS else ""
    return Table(
        title,
        [(str(c).replace("_", " "), numeric[c]) for c in frame.columns],
        rows,
        empty,
        note,
        more,
    )


def _class(column: str, value: Any, numeric: bool) -> str:
    odd = column == "z" and isinstance(value, float) and abs(value) > 5
    return (
        "number bad"
        if odd
        else "number"
        if numeric
        else "long"
        if isinstance(value, str) and len(value) > 24
        else ""
    )


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def anchor(title: str) -> str:
    """What a place of the page is called in its address."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def controls_of(found: Sequence[Control]) -> Table | None:
    """What of each cell's change is for want of data, as `ouro status` says it."""
    if not found:
        return None
    rows = []
    for own in found:
        limit = own.limit
        rows.append(
            {
                "cell": own.label,
                "n": own.n,
                "change": own.change.mean if own.change else math.nan,
                "control n": own.control_n,
                "change of the control": own.control_change.mean
                if own.control_change
                else math.nan,
                "at n = infinity": limit.value if limit else math.nan,
                "low": limit.low if limit else None,
                "high": limit.high if limit else None,
                "": own.words or own.undefined,
            }
        )
    how = "end / generation 0" if found[0].is_ratio else "end minus generation 0"
    note = (
        f"The same chains at a quarter of n.  Change: {how} of {found[0].metric}, each compared at "
        f"its own n; at n = infinity as continued in 1/n, with {CONFIDENCE:.0%} limits over seeds: "
        "what is left there is the sampler's or the network's."
    )
    frame = pd.DataFrame(rows).astype({"low": float, "high": float})
    return table_of("Controls at a quarter of n", frame, "", note)


def found_by(searched: list[Workflow]) -> Table | None:
    """What the search found, as threshold.json has it."""
    if not searched:
        return None
    ends = ["typical", "low", "high", "safe", "safe_low", "safe_high"]
    whole = [
        {**own.to_dict(), "workflow": own.label, **dict(zip(ends, own.ends, strict=True))}
        for own in searched
    ]
    found = pd.DataFrame(whole).astype(dict.fromkeys(ends, float))
    odd = [name for name in ("absorbed", "undefined", "failed") if found[name].any()]
    columns = ["workflow", *ends, "lineages", "seeds", *odd, "ended"]
    note = "Ended: why the search started no more lineages, or that it has not ended."
    return table_of(
        "What the search found",
        found[columns],
        "",
        note,
    )
