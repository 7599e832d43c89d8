"""What the terminal shows before and after a sweep: plan, status, findings; the summary of cells is
in summary.py.

Narrow ones get paragraphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from engine.lineage.history import History
from engine.names import Names, by_cell, names_of, refusals
from engine.outcome.answer import Answer
from engine.outcome.summary import Spread
from engine.planning.plan import Plan
from engine.planning.preflight import Preflight, Training, parts_with_commands
from engine.spec import Sweep

NARROW = 70  # columns; below this tables become short paragraphs
UNREAD = 100  # cells shown where there is no terminal: `--json` has all
MOST_REASONS = 5  # of failures, or of cells that were left out


# ---- numbers -------------------------------------------------------------------------------------


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


# ---- the plan ------------------------------------------------------------------------------------


def plan_lines(plan: Plan, sweep: Sweep) -> list[tuple[str, str]]:
    """The plan as (name, value) pairs."""
    lines = [
        ("question", sweep.question or "-"),
        ("cells", f"{plan.cells} ({plan.seeds})"),
        ("lineages", f"{plan.lineages}, generations 0 to {sweep.generations}"),
        (
            "generations",
            f"{plan.asked} asked, {plan.unique} distinct ({plan.founders} founders), "
            f"{plan.present} already there",
        ),
        ("to compute", "nothing" if not plan.missing else _forecast(plan)),
        *(
            [("cost", _cost(plan))]
            if plan.missing and plan.cpu_hours is not None and (plan.gpu_hours or plan.price)
            else []
        ),
        ("measures", ", ".join(m.id for m in sweep.metrics) or "nothing"),
        ("output", sweep.out),
        *_preflight_lines(plan.preflight),
        *_programs(sweep),
    ]
    said = [*sweep.left_out(), *refusals(sweep.refused, sweep.lineages)]
    return [*lines, *(("left out", reason) for reason in first(said, "reasons"))]


def _preflight_lines(found: Preflight) -> Iterator[tuple[str, str]]:
    """What the data hold, what is trained before the first measurement, what is lacking."""
    for text in first([data.words for data in found.data], "data sets"):
        yield "data", text
    for training in found.trains:
        yield "trains", _training(training)
    if found.unshared:
        yield "", f"{found.unshared}: every worker trains its own"
    for lack in found.lacks:
        yield "lacks", str(lack)


def _programs(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """The programs that the file's command lines would start."""
    for part in parts_with_commands(sweep):
        for which, line in part.command_lines.items():
            yield "runs", f"{part.name}, {which}: {line}"
        yield "", "only with --allow-commands: look at the lines first"


def _training(training: Training) -> str:
    """What it takes to train an extractor, and where the number comes from."""
    where = ", as measured here" if training.measured else ""
    return (
        f"{training.extractor} on the {training.rows:,} rows of {training.data}, once on this "
        f"computer: about {duration(training.seconds)} of one CPU core{where}"
    )


def _forecast(plan: Plan) -> str:
    text = f"{plan.missing} generations"
    if plan.seconds is not None:
        text += (
            f", about {duration(plan.seconds)} on {plan.workers} "
            f"worker{'s' if plan.workers != 1 else ''}"
        )
    if plan.bytes is not None:
        text += f", about {size(plan.bytes)} of disk"
    return text + ("" if plan.seconds is not None else "; the time is known once some have run")


def _cost(plan: Plan) -> str:
    """GPU hours, or CPU hours where no GPU is asked for; the price; and where both come from."""
    text = (
        f"{number(plan.gpu_hours)} GPU-hours"
        if plan.gpu_hours
        else f"{number(plan.cpu_hours or 0.0)} CPU-hours"
    )
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
    """Every cell with its lineages and what is there of it; of very many the first."""
    rows = table(("cell", "left"), ("lineages", "right"), ("generations there", "right"))
    names, cells = names_of(sweep), by_cell(sweep.lineages)
    shown = list(cells)[: room(console, len(cells), 13 + len(sweep.refused[:MOST_REASONS]))]
    for cell in shown:
        there = sum(done.get(s.id, 0) for s in cells[cell])
        asked = (sweep.generations + 1) * len(cells[cell])
        rows.add_row(names.cell(cells[cell][0]), str(len(cells[cell])), f"{there} of {asked}")
    console.print(rows)
    if hidden := len(cells) - len(shown):
        console.print(
            Text(
                f"... and {hidden} more cells (`ouro plan {sweep.source} --json` has all)",
                style="dim",
            )
        )


def room(console: Console, cells: int, taken: int) -> int:
    """How many of these cells to show on a screen with `taken` other lines."""
    most = max(5, console.height - taken) if console.is_terminal else UNREAD
    return cells if cells <= most else most


def first(lines: Sequence[str], what: str) -> list[str]:
    """The first few lines, and how many more there are."""
    more = len(lines) - MOST_REASONS
    return [*lines[:MOST_REASONS], f"... and {more} more {what}"] if more > 1 else list(lines)


def table(*columns: tuple[str, JustifyMethod]) -> Table:
    rows = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name, justify in columns:
        rows.add_column(name, justify=justify, overflow="fold", no_wrap=justify == "right")
    return rows


def one_line_each(rows: Table) -> Table:
    """Cut long texts instead of folding them; what a line is about, at its left, stays whole."""
    for column in rows.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    rows.columns[0].min_width = max((len(str(said)) for said in rows.columns[0].cells), default=0)
    return rows


def show_status(console: Console, sweep: Sweep, found: Mapping[str, History]) -> None:
    """One line on how far a sweep is, and a line for each reason why lineages failed."""
    done, asked = sum(len(h.rows) for h in found.values()), len(found) * (sweep.generations + 1)
    ended = sum(h.finished for h in found.values())
    console.print(
        f"{sweep.name}: {done} of {asked} generations, {ended} of {len(found)} lineages have an "
        "outcome"
    )
    for line in failures(found.values(), names_of(sweep)):
        console.print(Text(line, style="red"))


def failures(found: Iterable[History], names: Names) -> list[str]:
    """What failed and why; lineages of one reason together."""
    by_reason: dict[str, list[History]] = {}
    for h in found:
        if h.status == "failed":
            by_reason.setdefault(h.reason, []).append(h)
    return first(
        [f"{_named(members, names)}: {reason}" for reason, members in by_reason.items()], "reasons"
    )


def _named(members: Sequence[History], names: Names) -> str:
    others = len(members) - 1
    also = f" and {others} other lineage{'s' if others > 1 else ''}" if others else ""
    return f"{names.lineage(members[0].spec)}{also}"


# ---- the end ------------------------------------------------------------------------------------


def show_end(
    console: Console, said: Sequence[tuple[str, str]], places: Sequence[tuple[str, str]]
) -> None:
    """What happened, and where to look next."""
    console.print()
    for style, sentence in said:
        console.print(Text(sentence, style=style))
    _pairs(console, places)


def answer_text(answer: Answer) -> Text:
    """One workflow's answer and, dim, what it rests on."""
    how = f"  ({'; '.join(answer.how)})"
    return Text.assemble((answer.who, "bold cyan"), f": {answer.what}", (how, "dim"))


# ---- machines -----------------------------------------------------------------------------------


def show_findings(console: Console, findings: Sequence[tuple[str, str, bool]]) -> None:
    """What doctor found: a line each, what is wrong in red."""
    marks = [
        Text("ok" if good else "no", style="green" if good else "bold red")
        for _, _, good in findings
    ]
    if console.width < NARROW:
        for mark, (name, text, good) in zip(marks, findings, strict=True):
            console.print(mark + Text(f" {name}: ") + Text(text, style="" if good else "red"))
        return
    grid = Table.grid(padding=(0, 2))
    for overflow in ("ellipsis", "ellipsis", "fold"):
        grid.add_column(no_wrap=overflow == "ellipsis", overflow=overflow)
    for mark, (name, text, good) in zip(marks, findings, strict=True):
        grid.add_row(mark, name, Text(text, style="" if good else "red"))
    console.print(grid)
