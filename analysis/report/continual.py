"""The section of a page whose experiment has tasks: what is kept of earlier ones, in sentences and
in figures.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.collapse.continual import by_task, numbers, tasks_of
from analysis.frame.tables import over_seeds
from analysis.plots import continual as plots
from analysis.report.findings import KEPT, Findings, Shown
from engine.outcome.answer import Answer
from engine.outcome.continual import DISTANCES, SOLVER, Kept, measured_by
from engine.outcome.interval import Interval

MOST_NAMED = 4  # cells in a sentence
NAMED = {
    "otdd": "OTDD (optimal transport dataset distance)",
    "fid": "FID",
    "alignment/auc": "how well drawn samples can be told from real ones (AUC)",
}
SEPARABILITY = "alignment/auc"


# ---- in words ------------------------------------------------------------------------------------


def answers(found: Sequence[Kept]) -> list[Answer]:
    """What each cell keeps, as the terminal and `summary.json` say it."""
    return [Answer(own.label, own.words, (_rests(own),)) for own in found]


def _rests(own: Kept) -> str:
    seeds = len(own.chains)
    return f"{seeds} seed{'s' * (seeds != 1)}, after generation {own.tasks - 1}; 95 % t intervals"


def sentences(found: Sequence[Kept]) -> list[str]:
    """Who keeps most and least beside the bounds; who forgets; whose draws of earlier tasks drift.

    A sentence stands where there are values for it; intervals are those of Student over seeds.
    """
    judged = [own for own in found if own.accuracy is not None and own.tasks > 1]
    if not judged:
        why = found[0].why("accuracy") if found else "nothing has been run"
        return [f"What is kept of earlier tasks is not known yet: {why}."]
    return [said for said in (_accuracy(judged), _forgetting(judged), _drift(judged)) if said]


def _accuracy(judged: Sequence[Kept]) -> str:
    own = _sorted([c for c in judged if not c.bound], "accuracy")[::-1]
    bounds = {"lower": "nothing of earlier tasks", "upper": "all real data of all tasks"}
    beside = [f"{_said(c.accuracy)} with {bounds[c.bound]} ({c.label})" for c in judged if c.bound]
    shown = own if len(own) <= MOST_NAMED else [*own[: MOST_NAMED - 1], own[-1]]
    named = [f"{_said(c.accuracy)} under {c.label}" for c in shown]
    more = f" ({len(own) - len(named)} more cells are between)" if len(own) > len(named) else ""
    said = f"After {judged[0].tasks} tasks, average accuracy is {_listed(named or beside)}{more}"
    return f"{said}; the bounds are {_listed(beside)}." if own and beside else f"{said}."


def _forgetting(judged: Sequence[Kept]) -> str:
    """Of the cells that are no bounds, which forget nothing or all, where there are any."""
    known = [c for c in judged if c.forgetting is not None]
    own = _sorted([c for c in known if not c.bound] or known, "forgetting")
    if not own:
        return ""
    what = "Forgetting (how far earlier tasks have fallen below their best accuracy)"
    said = f"{what} is {_said(own[0].forgetting)} under {own[0].label}"
    least, most = own[0], own[-1]
    if least is most:
        return f"{said}."
    return f"{said}, the least, and {_said(most.forgetting)} under {most.label}, the most."


def _drift(judged: Sequence[Kept]) -> str:
    """Whose distance grew beyond what seeds scatter, and whose did not."""
    known = [c for c in judged if c.drift is not None]
    own = _sorted([c for c in known if not c.bound] or known, "drift")[::-1]
    parts = []
    if grown := [c for c in own if c.drifts]:
        parts.append(f"Draws of earlier tasks drift from real samples under {_spans(grown)}")
    if rest := [c for c in own if c.drifts is False]:
        parts.append(f"{'no' if grown else 'No'} drift is seen under {_spans(rest)}")
    if unknown := [c for c in own if c.drifts is None]:
        said = f"ne seed cannot tell drift from scatter: {_spans(unknown)}"
        parts.append(("o" if parts else "O") + said)
    if not parts:
        return ""
    return (
        f"{'; '.join(parts)}; in brackets {own[0].distance} in multiples of its floor, when a task "
        "was learnt and at the end, a mean over earlier tasks."
    )


def _sorted(cells: Sequence[Kept], name: str) -> list[Kept]:
    """From least to most of a mean."""
    return sorted(cells, key=lambda own: getattr(own, name).mean)


def _spans(cells: Sequence[Kept]) -> str:
    shown = [
        f"{c.label} ({c.start.mean:.2f} to {c.end.mean:.2f})"
        for c in cells[:MOST_NAMED]
        if c.start is not None and c.end is not None
    ]
    more = len(cells) - len(shown)
    return _listed([*shown, f"{more} more cells"] if more else shown)


def _said(value: Interval | None) -> str:
    return "not known" if value is None else value.words()


def _listed(parts: Sequence[str]) -> str:
    """One after another; with semicolons, as cells have commas in their names."""
    return parts[0] if len(parts) == 1 else f"{'; '.join(parts[:-1])} and {parts[-1]}"


# ---- in figures ----------------------------------------------------------------------------------


def figures(findings: Findings) -> Iterator[Shown]:
    """What is kept in numbers, the accuracy matrix, and accuracy, distance and separability by task
    over the generations.
    """
    if not findings.kept:
        return
    if any(own.accuracy is not None for own in findings.kept):
        alt = "Average accuracy, forgetting and the distance of earlier tasks, per cell."
        draw = functools.partial(_kept, findings.kept)
        yield Shown("kept", KEPT, alt, numbers(findings.kept), draw)
    yield from _accuracies(findings)
    for key in by_task_keys(findings):
        yield _by_task(findings, key)


def _kept(found: Sequence[Kept], width: float) -> Figure:
    return plots.kept(found, width=width)


def by_task_keys(findings: Findings) -> list[str]:
    """Beside the accuracy, the keys that have a figure by task."""
    sweep, frame = findings.sweep, findings.frame
    distances = [measured_by(sweep, name) for name in DISTANCES]
    told = measured_by(sweep, "alignment")
    keys = [*distances, SEPARABILITY.replace("alignment", told) if told else ""]
    return [key for key in keys if key and tasks_of(frame, key)]


def _accuracies(findings: Findings) -> Iterator[Shown]:
    solver = measured_by(findings.sweep, SOLVER)
    table = by_task(findings.frame, solver)
    if not solver or table["mean"].notna().sum() == 0:
        return
    order = [own.label for own in findings.kept]
    alt = "Accuracy on each task after each task, per cell."
    draw = functools.partial(plots.matrices, table, order=order)
    yield Shown("accuracy_matrix", KEPT, alt, table, lambda width: draw(width=width))
    mean = _labelled(findings.frame, solver)
    at = {
        name: float(value)
        for name, key in (("all real data", f"{solver}/joint"), ("chance", f"{solver}/chance"))
        if pd.notna(value := _last(findings.frame, key))
    }
    note = (
        "Dotted: what the solver reaches when it is trained on as many real samples of all classes "
        "so far, and by chance, after the last task."
    )
    title = "Accuracy by task, on held-out real samples"
    lines = functools.partial(
        plots.by_task, table, order=order, name="accuracy", title=title, mean=mean, at=at, note=note
    )
    alt = "Accuracy on each task over the generations, per cell."
    yield Shown("accuracy_by_task", KEPT, alt, table, lambda width: lines(width=width))


def _labelled(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    labels = frame.drop_duplicates("cell").set_index("cell")["label"].astype(str)
    table = over_seeds(frame, key)
    return table.assign(label=[labels[cell] for cell in table["cell"]])


def _last(frame: pd.DataFrame, key: str) -> float:
    """The mean of a key over the lineages, at the last generation that has it; NaN without any."""
    own = frame[(frame["key"] == key) & frame["value"].notna()]
    return float(own.loc[own["t"] == own["t"].max(), "value"].mean())


def _by_task(findings: Findings, key: str) -> Shown:
    table = by_task(findings.frame, key)
    order = [own.label for own in findings.kept]
    metric, _, rest = key.partition("/")
    named = NAMED.get(f"{metric.partition('.')[0]}/{rest}".rstrip("/"), key)
    title = f"{named[:1].upper()}{named[1:]} by task"
    at = {"nobody could tell": 0.5} if rest == "auc" else {}
    by = findings.extractors.get(metric, ())
    name = f"{key} ({', '.join(by)})" if by else key
    draw = functools.partial(plots.by_task, table, order=order, name=name, title=title, at=at)
    alt = f"{key} of each task over the generations, per cell."
    file = f"{key.replace('/', '_')}_by_task"
    return Shown(file, KEPT, alt, table, lambda width: draw(width=width))
