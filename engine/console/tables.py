"""What the terminal shows before and after a sweep: plan, status, findings; the summary of cells is
in summary.py.

Narrow ones get paragraphs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from engine._drawn_variance import warnings as drawn_otherwise
from engine._foreign import one_line
from engine.console.text import Rows, line
from engine.files import PREFIX
from engine.lineage.history import History
from engine.names import Names, by_cell, names_of, refusals
from engine.outcome.answer import Answer
from engine.outcome.summary import Spread
from engine.planning.kept import warnings as not_kept
from engine.planning.plan import Plan
from engine.planning.preflight import Preflight, Training, parts_with_commands
from engine.spec import Sweep
from engine.training.progress import Stage

NARROW = 70  # columns; below this tables become short paragraphs
UNREAD = 100  # cells shown where there is no terminal: `--json` has all
SCRATCH = re.compile(rf"/{PREFIX}\d+-weights-\w+")  # folders that programs worked in
NUMBER = re.compile(r"(?<![\w.])-?\d[\d.,]*(e[-+]?\d+)?")
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


def stage_text(stage: Stage) -> str:
    """generation 3, training: step 400 of 1,000, 4,210 per second, 12 s left."""
    text = f"generation {stage.t}, {stage.what}"
    if not stage.total:
        return text
    unit = "step " if stage.what == "training" else ""
    text += f": {unit}{stage.done:,} of {stage.total:,}"
    text += f", {round(stage.speed):,} per second" if stage.speed >= 1 else ""
    return text if stage.left is None else f"{text}, {duration(stage.left)} left"


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e5 else f"{value:.1e}"


def spread(s: Spread | None, unit: str = "") -> str:
    """mean unit (least..greatest); the range only where the seeds differ."""
    if s is None:
        return "-"
    tail = f" ({number(s.low)}..{number(s.high)})" if s.low != s.high else ""
    return f"{number(s.mean)}{unit}{tail}"


def changed(s: Spread | None, by: str, *, ranges: bool = True) -> str:
    """A drift: `1.35 x (1.02..1.52)`, or of differences `+0.71 (+0.68..+0.74)`."""
    if s is None:
        return "-"
    if by == "ratio":
        return spread(s, " x") if ranges else f"{number(s.mean)} x"
    tail = f" ({s.low:+.3g}..{s.high:+.3g})" if ranges and s.low != s.high else ""
    return f"{s.mean:+.3g}{tail}"


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
        *_controls(plan),
        (
            "generations",
            f"{plan.asked} asked, {plan.unique} distinct ({_founders(plan)}), "
            f"{plan.present} already there",
        ),
        ("to compute", "nothing" if not plan.missing else _forecast(plan)),
        *(
            [("cost", _cost(plan))]
            if plan.missing and plan.cpu_hours is not None and (plan.gpu_hours or plan.price)
            else []
        ),
        *([("to measure", _to_measure(plan))] if plan.unmeasured else []),
        ("measures", ", ".join(_measure(m.id, plan.compared) for m in sweep.metrics) or "nothing"),
        *(("compares", text) for text in first(plan.warnings, "warnings")),
        ("output", sweep.out),
        *_preflight_lines(plan.preflight),
        *(("draws", text) for text in first(drawn_otherwise(sweep.lineages), "warnings")),
        *(("keeps", text) for text in not_kept(sweep)),
        *_programs(sweep),
    ]
    said = [*sweep.left_out(), *refusals(sweep.refused, sweep.lineages)]
    return [*lines, *(("left out", reason) for reason in first(said, "reasons"))]


def _measure(metric: str, compared: Mapping[str, int]) -> str:
    """fid at n 200: a metric, and how many samples of every cell it compares."""
    return f"{metric} at n {compared[metric]:,}" if metric in compared else metric


def _to_measure(plan: Plan) -> str:
    """What generations that are there lack: metrics that are new, or now at another n."""
    each = [f"{_measure(name, plan.compared)} of {n:,}" for name, n in plan.unmeasured.items()]
    return f"{', '.join(each)} generations that are there"


def _controls(plan: Plan) -> list[tuple[str, str]]:
    many = f"{plan.controls} lineage{'s' if plan.controls != 1 else ''}"
    said = f"{many} at a quarter of n, in no average and no search"
    return [("controls", said)] if plan.controls else []


def _founders(plan: Plan) -> str:
    return f"{plan.founders} founder{'s' if plan.founders != 1 else ''}"


def _preflight_lines(found: Preflight) -> Iterator[tuple[str, str]]:
    """What the data hold, what is trained before the first measurement, what is lacking."""
    for text in first([data.words for data in found.data], "data sets"):
        yield "data", text
    for text in first([said for data in found.data for said in data.warnings], "warnings"):
        yield "", text
    for training in found.trains:
        yield "trains", _training(training)
    if found.no_cache:
        yield "cache", f"{found.no_cache}; until then every worker reads and trains for itself"
    for text in found.unchecked:
        yield "weights", text
    for lack in found.lacks:
        yield "lacks", str(lack)


def _programs(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """The programs that the file's command lines would start."""
    for part in parts_with_commands(sweep):
        for which, command in part.command_lines.items():
            yield "runs", f"{part.name}, {which}: {command}"
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
    show_pairs(console, sweep.name, plan_lines(plan, sweep))


def show_pairs(console: Console, name: str, lines: Sequence[tuple[str, str]]) -> None:
    """What is about to run, as (name, value) below the name of the sweep."""
    console.print(Text("ouroboros ", style="bold") + line(name, "bold cyan"))
    _pairs(console, lines)


def _pairs(console: Console, lines: Sequence[tuple[str, str]]) -> None:
    """Names dim at the left, values at the right; one below the other where it is narrow."""
    if console.width < 40:
        for name, value in lines:
            console.print(line(f"{name}: ", "dim") + line(value))
        return
    grid = Rows.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in lines:
        grid.add_row(f"  {name}", value)
    console.print(grid)


def show_cells(console: Console, sweep: Sweep, done: Mapping[str, int]) -> None:
    """Every cell with its lineages and what is there of it; of very many the first."""
    rows = table(("cell", "left"), ("lineages", "right"), ("generations there", "right"))
    names, cells = names_of(sweep), by_cell(sweep.all_lineages)
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
    rows = Rows(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name, justify in columns:
        rows.add_column(
            one_line(name), justify=justify, overflow="fold", no_wrap=justify == "right"
        )
    return rows


def one_line_each(rows: Table) -> Table:
    """Cut long texts instead of folding them; what a line is about, at its left, stays whole."""
    for column in rows.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    rows.columns[0].min_width = max((len(str(said)) for said in rows.columns[0].cells), default=0)
    return rows


def show_status(
    console: Console, sweep: Sweep, found: Mapping[str, History], stages: Mapping[str, Stage]
) -> None:
    """How far a sweep is, how far each unfinished lineage, and why lineages failed."""
    done, names = sum(len(h.rows) for h in found.values()), names_of(sweep)
    asked = sum(h.asked(sweep.generations) for h in found.values())
    ended = sum(h.finished for h in found.values())
    said = (
        f"{sweep.name}: {done} of {asked} generations, {ended} of {len(found)} lineages have an "
        "outcome"
    )
    console.print(line(said))
    for failure in failures(found.values(), names):
        console.print(line(failure, "red"))
    _show_unfinished(console, sweep, [h for h in found.values() if not h.finished], stages)


def _show_unfinished(
    console: Console, sweep: Sweep, left: Sequence[History], stages: Mapping[str, Stage]
) -> None:
    """A line for each lineage that has begun, the furthest last committed first."""
    begun = sorted((h for h in left if h.rows or h.spec.id in stages), key=_committed, reverse=True)
    shown, names, now = begun[: room(console, len(begun), 13)], names_of(sweep), time.time()
    if shown:
        console.print()
    rows = table(("unfinished lineage", "left"), ("generation", "left"), ("", "left"))
    for h in shown:
        said = f"committed {duration(max(0.0, now - _committed(h)))} ago" if h.rows else ""
        if h.spec.id in stages:
            said = f"now {stage_text(stages[h.spec.id])}"
        reached = f"{h.t} of {sweep.generations}" if h.rows else f"- of {sweep.generations}"
        rows.add_row(names.lineage(h.spec), reached, said)
    if shown:
        console.print(rows)
    if more := len(begun) - len(shown):
        console.print(Text(f"... and {more} more that have begun", style="dim"))
    if waiting := len(left) - len(begun):
        verb = "lineage has" if waiting == 1 else "lineages have"
        console.print(Text(f"{waiting} {verb} not begun", style="dim"))


def _committed(history: History) -> float:
    """When the last generation of a lineage was committed."""
    return history.rows[-1].time if history.rows else 0.0


def failures(found: Iterable[History], names: Names) -> list[str]:
    """What failed and why; lineages of one reason, but for its numbers, together."""
    by_reason: dict[str, list[History]] = {}
    for h in found:
        if h.status == "failed":
            by_reason.setdefault(NUMBER.sub("0", SCRATCH.sub("", h.reason)), []).append(h)
    return first([_failure(alike, names) for alike in by_reason.values()], "reasons")


def _failure(alike: Sequence[History], names: Names) -> str:
    """Lineages that failed alike, and why: the lines of a longer story one after the other."""
    one = alike[0]
    reason = " | ".join(filter(None, map(str.strip, one.reason.splitlines())))
    return f"{_named(alike, names)}: {reason}{_printed(one)}"


def _printed(history: History) -> str:
    """Where to read all that the programs of a failed lineage have printed."""
    place = history.failure.printed if history.failure else ""
    return f"; what its programs printed: {place}.err and .out in the output" if place else ""


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
        console.print(line(sentence, style))
    _pairs(console, places)


def answer_text(answer: Answer) -> Text:
    """One workflow's answer and, dim, what it rests on."""
    how = f"  ({'; '.join(answer.how)})"
    return line(answer.who, "bold cyan") + line(f": {answer.what}") + line(how, "dim")


# ---- machines -----------------------------------------------------------------------------------


def show_findings(console: Console, findings: Sequence[tuple[str, str, bool]]) -> None:
    """What doctor found: a line each, what is wrong in red."""
    marks = [
        Text("ok" if good else "no", style="green" if good else "bold red")
        for _, _, good in findings
    ]
    if console.width < NARROW:
        for mark, (name, text, good) in zip(marks, findings, strict=True):
            console.print(mark + line(f" {name}: ") + line(text, "" if good else "red"))
        return
    grid = Rows.grid(padding=(0, 2))
    for overflow in ("ellipsis", "ellipsis", "fold"):
        grid.add_column(no_wrap=overflow == "ellipsis", overflow=overflow)
    for mark, (name, text, good) in zip(marks, findings, strict=True):
        grid.add_row(mark, name, line(text, "" if good else "red"))
    console.print(grid)
