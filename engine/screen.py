"""What the terminal shows before and after a sweep: plan, status, summary, parts, findings.  Narrow ones get paragraphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from engine.parts import Description
from engine.plan import Plan
from engine.spec import Sweep
from engine.summary import Cell, History, Spread, labels
from engine.verdict import in_words

NARROW = 70  # columns; below this tables become short paragraphs


# ---- numbers ------------------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """12 s, 3 min 05 s, 2 h 10 min, 3 d 4 h."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02d} s"
    if s < 86400:
        return f"{s // 3600} h {s % 3600 // 60:02d} min"
    return f"{s // 86400} d {s % 86400 // 3600} h"


def size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e5 else f"{value:.1e}"


def spread(s: Spread | None, unit: str = "") -> str:
    """mean unit (least..greatest); the range only where the seeds differ."""
    if s is None:
        return "-"
    tail = f" ({number(s.low)}..{number(s.high)})" if s.low != s.high else ""
    return f"{number(s.mean)}{unit}{tail}"


def bar(done: int, total: int, width: int) -> Text:
    full = round(width * done / total) if total else width
    return Text("━" * full, style="cyan") + Text("━" * (width - full), style="bright_black")


# ---- the plan -----------------------------------------------------------------------------------------------------------


def plan_lines(plan: Plan, sweep: Sweep) -> list[tuple[str, str]]:
    """The plan as (name, value) pairs."""
    lines = [
        ("question", sweep.question or "-"),
        ("cells", f"{plan.cells} ({plan.seeds})"),
        ("lineages", f"{plan.lineages}, generations 0 to {sweep.generations}"),
        ("generations", f"{plan.asked} asked, {plan.unique} distinct ({plan.founders} founders), {plan.present} already there"),
        ("to compute", "nothing" if not plan.missing else _forecast(plan)),
        *([("cost", _cost(plan))] if plan.missing and plan.cpu_hours is not None and (plan.gpu_hours or plan.price) else []),
        ("measures", ", ".join(m.id for m in sweep.metrics) or "nothing"),
        ("output", sweep.out),
    ]
    return [*lines, *(("left out", reason) for reason in sweep.refused)]


def _forecast(plan: Plan) -> str:
    text = f"{plan.missing} generations"
    if plan.seconds is not None:
        text += f", about {duration(plan.seconds)} on {plan.workers} worker{'s' if plan.workers != 1 else ''}"
    if plan.bytes is not None:
        text += f", about {size(plan.bytes)} of disk"
    return text + ("" if plan.seconds is not None else "; the time is known once some have run")


def _cost(plan: Plan) -> str:
    """GPU hours, or CPU hours where no GPU is asked for; the price; and where both come from."""
    text = f"{number(plan.gpu_hours)} GPU-hours" if plan.gpu_hours else f"{number(plan.cpu_hours or 0.0)} CPU-hours"
    if plan.price:
        text += ", " + " to ".join(dict.fromkeys(f"{usd:.2f}" for usd in plan.price)) + " USD"
    return f"{text} (a generation's hours are {plan.basis})"


def show_plan(console: Console, plan: Plan, sweep: Sweep) -> None:
    console.print(Text("ouroboros ", style="bold") + Text(sweep.name, style="bold cyan"))
    _pairs(console, plan_lines(plan, sweep))


def _pairs(console: Console, lines: Sequence[tuple[str, str]]) -> None:
    """Names dim at the left, values at the right; one below the other where it is narrow."""
    if console.width < 40:
        for name, value in lines:
            console.print(Text(f"{name}: ", style="dim") + Text(value))
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in lines:
        grid.add_row(f"  {name}", Text(value))
    console.print(grid)


def show_cells(console: Console, sweep: Sweep, done: Mapping[str, int]) -> None:
    """Every cell with its lineages and what is there of it."""
    rows = table(("cell", "left"), ("lineages", "right"), ("generations there", "right"))
    names, per = labels(sweep.lineages), sweep.generations + 1
    for cell, label in names.items():
        members = [s for s in sweep.lineages if s.cell_id == cell]
        there = sum(done.get(s.id, 0) for s in members)
        rows.add_row(label, str(len(members)), f"{there} of {per * len(members)}")
    console.print(rows)


def table(*columns: tuple[str, str]) -> Table:
    rows = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name, justify in columns:
        rows.add_column(name, justify=justify, overflow="fold", no_wrap=justify == "right")  # type: ignore[arg-type]
    return rows


def show_status(console: Console, sweep: Sweep, found: Mapping[str, History]) -> None:
    """One line on how far a sweep is, and a line for each lineage that failed."""
    done, asked = sum(len(h.rows) for h in found.values()), len(found) * (sweep.generations + 1)
    ended = sum(bool(h.status) for h in found.values())
    console.print(f"{sweep.name}: {done} of {asked} generations, {ended} of {len(found)} lineages have an outcome")
    for h in found.values():
        if h.status == "failed":
            console.print(Text(f"{h.spec.label}, seed {h.spec.seed}: {h.reason}", style="red"))


# ---- the summary --------------------------------------------------------------------------------------------------------


def show_summary(console: Console, cells: Sequence[Cell], sweep: Sweep) -> None:
    """Per cell over its seeds: drift, accuracy, verdict, statuses."""
    console.print()
    if console.width < NARROW:
        for cell in cells:
            _paragraph(console, cell)
    else:
        console.print(_summary_table(cells))
    console.print(Text(_caption(cells, sweep), style="dim"))


def _summary_table(cells: Sequence[Cell]) -> Table:
    accuracy = any(c.accuracy for c in cells)
    rows = table(
        ("cell", "left"),
        ("start", "right"),
        ("end", "right"),
        ("drift", "right"),
        *((("accuracy", "right"),) if accuracy else ()),
        ("collapsed", "left"),
        ("status", "left"),
    )
    for c in cells:
        extra = (spread_short(c.accuracy),) if accuracy else ()
        cells_of = (c.label, spread_short(c.start), spread_short(c.last), spread(c.drift, " x"))
        rows.add_row(*cells_of, *extra, _verdict(c), _statuses(c))
    return rows


def spread_short(s: Spread | None) -> str:
    return "-" if s is None else number(s.mean)


def _verdict(cell: Cell) -> Text:
    word = {"collapsed": "yes", "no": "no"}.get(cell.verdict, cell.verdict.removeprefix("collapsed "))
    return Text(word, style="bold yellow" if cell.collapsed else "")


def _statuses(cell: Cell) -> Text:
    words = [f"{n} {'done' if s == 'ok' else s.replace('_', ' ')}" for s, n in sorted(cell.statuses.items())]
    return Text(
        ", ".join(words), style="red" if "failed" in cell.statuses else "yellow" if set(cell.statuses) - {"ok"} else "dim"
    )


def _paragraph(console: Console, cell: Cell) -> None:
    console.print(Text(cell.label, style="bold"))
    console.print(f"  drift {spread(cell.drift, ' x')}", highlight=False)
    if cell.accuracy:
        console.print(f"  accuracy {number(cell.accuracy.mean)}", highlight=False)
    console.print(Text("  collapsed: ") + _verdict(cell))
    console.print(Text("  ") + _statuses(cell))


def _caption(cells: Sequence[Cell], sweep: Sweep) -> str:
    metric = cells[0].metric if cells else ""
    text = (
        f"start, end: {metric} at generation 0 and at the last one; drift: end / start; means over seeds (range)."
        if metric
        else ""
    )
    if sweep.collapse and all(c.start is None for c in cells):
        text += f" No row has a finite {sweep.collapse['metric']} yet, so nothing is judged."
    elif sweep.collapse:
        text += f" Collapsed: {in_words(sweep.collapse)}."
    return text.strip()


def show_end(console: Console, said: Sequence[tuple[str, str]], places: Sequence[tuple[str, str]]) -> None:
    """What happened, and where to look next."""
    console.print()
    for style, sentence in said:
        console.print(Text(sentence, style=style))
    _pairs(console, places)


# ---- parts and machines -------------------------------------------------------------------------------------------------


def described(part: Description) -> dict[str, Any]:
    """A part for machines."""
    fields = {p.name: {"type": p.annotation, "required": p.required, "default": p.default} for p in part.parameters.values()}
    return {"summary": part.summary, "parameters": fields, "constants": part.constants}


def show_parts(console: Console, found: Mapping[str, Sequence[Description]], long: bool) -> None:
    """Names and parameters by kind; with `long`, each part's sentence and its parameters' types."""
    for kind, members in found.items():
        console.print(Text(kind, style="bold"))
        for part in members:
            _show_part(console, part) if long else console.print(Text(f"  {part.name}", style="cyan") + Text(_signature(part)))


def _signature(part: Description) -> str:
    named = [p.name if p.required else f"{p.name}={p.default!r}" for p in part.parameters.values()]
    return f"({', '.join(named)})" if named else ""


def _show_part(console: Console, part: Description) -> None:
    console.print(Text(f"  {part.name}", style="bold cyan"))
    console.print(Padding(part.summary, (0, 0, 0, 4)))
    for p in part.parameters.values():
        tail = " (required)" if p.required else f" = {p.default!r}"
        console.print(Padding(Text(f"{p.name}: {p.annotation}{tail}", style="dim"), (0, 0, 0, 6)))


def show_findings(console: Console, findings: Sequence[tuple[str, str, bool]]) -> None:
    """What doctor found: a line each, what is wrong in red."""
    grid = Table.grid(padding=(0, 2))
    for name, text, good in findings:
        grid.add_row(
            Text("ok" if good else "no", style="green" if good else "bold red"), name, Text(text, style="" if good else "red")
        )
    console.print(grid)
