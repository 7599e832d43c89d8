"""The section of a page whose experiment has tasks: what is kept of earlier ones, in sentences and
in figures.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.collapse.continual import by_lineage, by_task, numbers, tasks_of
from analysis.frame.tables import over_seeds
from analysis.plots import continual as plots
from analysis.report.findings import DETAILS, KEPT, Findings, Shown
from engine.outcome.answer import Answer
from engine.outcome.continual import DISTANCES, SOLVER, Kept, measured_by
from engine.outcome.interval import Interval

MOST_NAMED = 4  # cells in a sentence
NAMED = {"otdd": "OTDD", "fid": "FID", "alignment/auc": "Separability (AUC)"}
SEPARABILITY = "alignment/auc"


# ---- in words ------------------------------------------------------------------------------------


def answers(found: Sequence[Kept]) -> list[Answer]:
    """What each cell keeps, as the terminal and `summary.json` say it."""
    return [Answer(own.label, own.words, (_rests(own),)) for own in found]


def joined(remembered: Sequence[Answer], judged: Sequence[Answer]) -> list[Answer]:
    """One answer for each cell where both are about the same: what it keeps, then its verdict."""
    verdicts = {own.who: own for own in judged}
    both = []
    for own in remembered:
        found = verdicts.pop(own.who, None)
        if found is None:
            both.append(own)
        else:
            how = (*own.how, *found.how)
            what = f"{own.what}; {found.what}"
            both.append(Answer(own.who, what, how, found.verdict, found.likely))
    return [*both, *verdicts.values()]


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
    beside = _bounds(judged)
    every = _alike([(f"{_said(c.accuracy)} under", c.label) for c in own])
    named = every if len(every) <= MOST_NAMED else [*every[: MOST_NAMED - 1], every[-1]]
    between = len(every) - len(named)
    more = f" ({between} more values are between)" if between else ""
    said = f"After {judged[0].tasks} tasks, average accuracy is {_listed(named or beside)}{more}"
    return f"{said}; the bounds are {_listed(beside)}." if own and beside else f"{said}."


def _bounds(judged: Sequence[Kept]) -> list[str]:
    named = {"lower": "nothing of earlier tasks", "upper": "all real data of all tasks"}
    own = [c for c in judged if c.bound]
    said = [(f"{_said(c.accuracy)} with {named[c.bound]},", c.label) for c in own]
    return _alike(said)


def _alike(said: Sequence[tuple[str, str]]) -> list[str]:
    """What is said of cells, each once where the same is said of several."""
    cells: dict[str, list[str]] = {}
    for words, label in said:
        cells.setdefault(words, []).append(label)
    more = {1: "", 2: " (and one more cell)"}
    return [
        f"{words} {labels[0]}{more.get(len(labels), f' (and {len(labels) - 1} more cells)')}"
        for words, labels in cells.items()
    ]


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
        no = "no" if grown else "No"
        parts.append(f"{no} drift beyond the scatter of seeds under {_spans(rest)}")
    if unknown := [c for c in own if c.drifts is None]:
        said = f"ne seed cannot tell drift from scatter: {_spans(unknown)}"
        parts.append(("o" if parts else "O") + said)
    if not parts:
        return _at_the_end(judged)
    return (
        f"{'; '.join(parts)}; in brackets {own[0].distance} in multiples of its floor, when a task "
        "was learnt and at the end, a mean over earlier tasks."
    )


def _at_the_end(judged: Sequence[Kept]) -> str:
    """Where the distance was not measured when tasks were learnt."""
    own = _sorted([c for c in judged if c.end is not None], "end")[::-1]
    if not own:
        return ""
    said = [f"{_said(c.end, 2)} times its floor under {c.label}" for c in own[:MOST_NAMED]]
    more = [f"less under {len(own) - len(said)} more cells"] if len(own) > len(said) else []
    return (
        f"After the last task, {own[0].distance} of earlier tasks is {_listed([*said, *more])}; "
        "it was not measured when each was learnt, so whether it grew is not known."
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


def _said(value: Interval | None, digits: int = 3) -> str:
    return "not known" if value is None else value.words(digits)


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
    for key, section in by_task_keys(findings).items():
        yield _by_task(findings, key, section)


def _kept(found: Sequence[Kept], width: float) -> Figure:
    return plots.kept(found, width=width)


def by_task_keys(findings: Findings) -> dict[str, str]:
    """Beside the accuracy, the keys that have a figure by task, with its section: distance and
    separability first, the rest folded away.
    """
    sweep, frame = findings.sweep, findings.frame
    told = measured_by(sweep, "alignment")
    first = [measured_by(sweep, *DISTANCES), told and SEPARABILITY.replace("alignment", told)]
    every = {str(key).rpartition("/task_")[0] for key in frame["key"].unique()}
    known = {key for key in every if key and tasks_of(frame, key)} - {measured_by(sweep, SOLVER)}
    shown = [key for key in first if key in known]
    return dict.fromkeys(shown, KEPT) | dict.fromkeys(sorted(known - {*shown}), DETAILS)


def _accuracies(findings: Findings) -> Iterator[Shown]:
    solver = measured_by(findings.sweep, SOLVER)
    table = by_task(findings.frame, solver)
    if not solver or table["mean"].notna().sum() == 0:
        return
    order = [own.label for own in findings.kept]
    alt = "Accuracy on each task after each task, per cell."
    draw = functools.partial(plots.matrices, table, order=order)
    yield Shown("accuracy_matrix", KEPT, alt, table, lambda width: draw(width=width))
    beside = {
        name: own
        for name, key in ((plots.ALL, solver), (plots.CEILING, f"{solver}/joint"))
        if (own := _labelled(findings.frame, key))["mean"].notna().any()
    }
    note = (
        "Dotted: what the same solver reaches when it learns from as many real samples of all "
        "classes so far, instead of the generation's training set."
    )
    title = "Accuracy by task, on held-out real samples"
    lines = functools.partial(
        plots.by_task,
        table,
        points=by_lineage(findings.frame, solver),
        order=order,
        name="accuracy",
        title=title,
        beside=beside,
        note=note,
    )
    alt = "Accuracy on each task over the generations, per cell."
    yield Shown("accuracy_by_task", KEPT, alt, table, lambda width: lines(width=width))


def _labelled(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    labels = frame.drop_duplicates("cell").set_index("cell")["label"].astype(str)
    table = over_seeds(frame, key)
    return table.assign(label=[labels[cell] for cell in table["cell"]])


def _by_task(findings: Findings, key: str, section: str) -> Shown:
    table = by_task(findings.frame, key)
    order = [own.label for own in findings.kept]
    metric, _, rest = key.partition("/")
    named = NAMED.get(f"{metric.partition('.')[0]}/{rest}".rstrip("/"), key)
    title = f"{named} of drawn samples by task"
    at = {"nobody can tell": 0.5} if rest == "auc" else {}
    note = (
        "Share of pairs of a drawn and a real sample that a linear classifier orders rightly."
        if rest == "auc"
        else ""
    )
    by = findings.extractors.get(metric, ())
    name = f"{key} ({', '.join(by)})" if by else key
    draw = functools.partial(
        plots.by_task,
        table,
        points=by_lineage(findings.frame, key),
        order=order,
        name=name,
        title=title,
        at=at,
        note=note,
    )
    alt = f"{key} of each task over the generations, per cell."
    file = f"{key.replace('/', '_')}_by_task"
    return Shown(file, section, alt, table, lambda width: draw(width=width))
