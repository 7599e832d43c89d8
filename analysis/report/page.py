"""`ouro report`: one self-contained HTML page with the answer in words on top, and a folder with
every figure and its numbers.

No network, no script, nothing from the data is executed: all text is escaped, and the page's own
policy forbids the rest.
"""

from __future__ import annotations

import base64
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis.frame.export import write as write_table
from analysis.frame.rows import from_store
from analysis.frame.tables import failures, undefined_values
from analysis.plots import style
from analysis.report.answers import answers_of, by_policy
from analysis.report.figures import Findings, Shown, figures
from analysis.report.measured_by import measured_by
from analysis.theory.laws import alarms, worst_z
from analysis.threshold.workflows import Workflow, grown, read
from engine.experiment.writer import to_yaml
from engine.files import write_atomically
from engine.names import names_of, refusals
from engine.outcome.answer import Answer
from engine.running.provenance import trained_with
from engine.spec import Sweep
from engine.store.artifacts import machine
from engine.store.failures import Failure
from engine.store.outputs import sweep_id
from engine.store.store import Store

MOST_ROWS = 60
MOST_ANSWERS = 12
PAGE_DPI = 150


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
        return _id(self.title)


@dataclass(frozen=True)
class Section:
    title: str
    figures: list[dict[str, str]]

    @property
    def id(self) -> str:
        return _id(self.title)


def write(
    sweep: Sweep,
    folder: Path,
    *,
    pictures: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Writes report.html and figures/ into the folder; returns the page.

    say: hears what is being drawn.
    """
    store = Store(sweep.out, repairs=False)
    searched = list(read(sweep, store).values()) if sweep.threshold else []
    sweep, names = (grown(sweep, store) if sweep.threshold else sweep), names_of(sweep)
    findings = Findings.of(sweep, from_store(sweep, names=names), searched)
    drawn: dict[str, list[dict[str, str]]] = {}
    for shown in figures(findings, store, pictures=pictures):
        say(shown.name)
        drawn.setdefault(shown.section, []).append(put(shown, folder / "figures"))
    sections = [Section(title, found) for title, found in drawn.items()]
    failed = {spec.id: store.failure(spec.id) for spec in sweep.lineages}
    about = [
        ("measured by", measured_by(sweep, store)),
        ("trained with", trained_with(sweep, store)),
    ]
    page = _page(findings, sections, {k: v for k, v in failed.items() if v}, searched, about)
    return write_atomically(folder / "report.html", page)


# ---- figures -------------------------------------------------------------------------------------


def put(shown: Shown, folder: Path) -> dict[str, str]:
    """Write the figure as PNG, SVG and numbers to the folder; return it as the page has it."""
    folder.mkdir(parents=True, exist_ok=True)
    wide, narrow = shown.draw(style.WIDE), shown.draw(style.NARROW)
    svg = style.svg(wide)
    write_atomically(folder / f"{shown.name}.svg", svg)
    write_atomically(folder / f"{shown.name}.png", style.png(wide))
    write_table(shown.numbers, folder / f"{shown.name}.csv")
    return {
        "name": shown.name,
        "alt": shown.alt,
        "wide": _inline(wide, svg),
        "narrow": _inline(narrow, style.svg(narrow)),
    }


def _inline(figure: Any, svg: bytes) -> str:
    """The smaller one of SVG and PNG as a data URI: as an image, neither can run anything or load
    anything.
    """
    png = style.png(figure, PAGE_DPI) if len(svg) > 200_000 else b""
    kind, data = ("png", png) if png and len(png) < len(svg) else ("svg+xml", svg)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


# ---- the page ------------------------------------------------------------------------------------


def _page(
    findings: Findings,
    sections: list[Section],
    failed: Mapping[str, Failure],
    searched: list[Workflow],
    about: list[tuple[str, str]],
) -> str:
    sweep = findings.sweep
    no_answer = "The experiment file names no collapse rule, so the figures below are the answer."
    return render(
        kind="Ouroboros sweep",
        name=sweep.name,
        question=sweep.question[:1].upper() + sweep.question[1:],
        answers=[own.said() for own in searched[:MOST_ANSWERS]] or _answers(findings),
        searched=_searched(searched),
        no_answer=no_answer if not findings.frame.empty else "Nothing has been run yet.",
        facts=_facts(findings, failed) + [fact for fact in about if fact[1]],
        warnings=_warnings(findings, failed),
        sections=sections,
        tables=list(_tables(findings, failed)),
        file=_source(sweep),
        footer=_footer(sweep),
    )


def render(**values: object) -> str:
    """Fill the page; whatever it shows is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)


def _answers(findings: Findings) -> list[Answer]:
    """What is said first, of as many workflows as can be read."""
    rule, table = findings.sweep.collapse, findings.answers
    if table is None or rule is None or findings.outcomes is None:
        return []
    if len(table) > MOST_ANSWERS and (table["verdict"] == "one fraction").all():
        table = by_policy(table, findings.outcomes)
    found = answers_of(table, rule, findings.sweep.generations)
    if len(found) <= 2 * MOST_ANSWERS:
        return found
    more = f"{len(found) - MOST_ANSWERS} more workflows"
    return [*found[:MOST_ANSWERS], Answer(more, "see the table of thresholds")]


def _searched(searched: list[Workflow]) -> Table | None:
    """What the search found, as threshold.json has it."""
    if not searched:
        return None
    whole = [{"workflow": own.label} | own.to_dict() for own in searched]
    found = pd.DataFrame(whole).astype({c: float for c in ("estimate", "low", "high")})
    odd = [name for name in ("absorbed", "undefined", "failed") if found[name].any()]
    columns = ["workflow", "estimate", "low", "high", "lineages", "seeds", *odd, "ended"]
    note = "Ended: why the search started no more lineages, or that it has not ended."
    return table_of(
        "What the search found",
        found[columns],
        "",
        note,
    )


def _facts(findings: Findings, failed: Mapping[str, Failure]) -> list[tuple[str, str]]:
    sweep, frame = findings.sweep, findings.frame
    generations = frame.drop_duplicates(["lineage", "t"])
    there = generations["lineage"].nunique()
    seeds = len({spec.seed for spec in sweep.lineages})
    facts = [
        ("lineages", f"{there:,} of {len(sweep.lineages):,}"),
        ("cells", f"{len({spec.cell_id for spec in sweep.lineages}):,}"),
        ("seeds", f"{seeds:,}"),
        ("generations", f"0 to {sweep.generations}"),
        ("rows measured", f"{len(frame):,}"),
        ("undefined values", f"{int((frame['undefined'] != '').sum()):,}"),
        ("failed", f"{len(failed):,}"),
    ]
    return facts + ([("collapse means", sweep.collapse.words())] if sweep.collapse else [])


def _warnings(findings: Findings, failed: Mapping[str, Failure]) -> list[str]:
    sweep, frame = findings.sweep, findings.frame
    found = [f"Theory disagrees: {text}" for text in alarms(findings.laws)[:5]]
    last = frame.groupby("lineage", observed=True)["t"].max()
    missing = len(sweep.lineages) - len(last)
    if missing:
        found.append(
            f"{missing} of {len(sweep.lineages)} lineages have no rows yet; `ouro run "
            f"{sweep.source}` makes them."
        )
    outcomes = findings.outcomes
    unfinished = 0 if outcomes is None else int((~outcomes["finished"].astype(bool)).sum())
    if unfinished:
        found.append(f"{unfinished} lineages are unfinished; they are counted as censored.")
    said = refusals(sweep.refused, sweep.lineages)
    return found + [f"Left out of the grid: {text}" for text in said[:8]]


def _source(sweep: Sweep) -> str:
    """The experiment as its file has it, or as it was resolved where that is no file."""
    try:
        return Path(sweep.source).read_text(encoding="utf-8")
    except OSError:
        return to_yaml(sweep.document)


def _footer(sweep: Sweep) -> str:
    known_as = sweep_id(Store(sweep.out, repairs=False), sweep.name)
    about = f"from {sweep.source}; sweep {known_as}"
    return f"{written(about)}  Intervals resample seeds, never cells."


def written(about: str) -> str:
    """When, from what and by which versions a page was written."""
    known = ", ".join(f"{k} {v}" for k, v in machine().items())
    return f"Written {time.strftime('%Y-%m-%d %H:%M')} {about}.  {known}."


# ---- tables --------------------------------------------------------------------------------------


def _tables(findings: Findings, failed: Mapping[str, Failure]) -> Iterable[Table]:
    if findings.answers is not None and findings.shares is not None:
        answers = findings.answers[
            ["group", "words", "estimate", "low", "high", "lineages", "seeds", "needs"]
        ]
        answers = answers.loc[:, (answers.notna() & (answers != "")).any()]
        yield table_of(
            "Thresholds",
            answers,
            "no workflow",
            note="Of a posterior over the crossing; 90 % intervals.",
        )
        shares = findings.shares[
            [
                "group",
                "synthetic_fraction",
                "collapsed",
                "judged",
                "lineages",
                "absorbed",
                "y",
                "level",
            ]
        ]
        yield table_of(
            "Verdicts", shares, "no lineage was judged", note="y is past the level in collapse."
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


def _id(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
