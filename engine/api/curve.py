"""Generations made elsewhere: the metrics, floors, verdict and page that a lineage would have,
without training one.

    curve = engine.measure(real="data/real", generations=["gen0", "gen1", "gen2"],
                           metrics=["fid", "otdd", "precision_recall"])
    curve.frame(); curve.judge({"metric": "fid", "above": 3}); curve.report("report.html")
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from engine.api import show
from engine.api.arguments import named
from engine.api.reading import Like
from engine.api.real import Real, real_data
from engine.experiment.consistency import by_keys, judgeable
from engine.experiment.given import plain
from engine.experiment.reader import SpecError
from engine.experiment.values import checked_part, distinct, explain, faulty, measured
from engine.experiment.values import named as as_part
from engine.experiment.yaml import Problem
from engine.files import JsonObject, expanded, unread
from engine.lineage.elsewhere import Elsewhere, Unknown
from engine.outcome.summary import curve as points_of
from engine.planning.preflight import weights_lacking
from engine.refusals import lacking
from engine.samples import Samples
from engine.settings import CollapseRule
from engine.spec import MeasureSpec
from engine.status import EnvironmentProblem, Judged
from engine.store.rows import Generation

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SOURCE = "engine.measure"


@dataclass(frozen=True)
class Verdict:
    """What a collapse rule says of generations.

    collapsed  at the last generation; None: it has no value there (see `undefined`).
    at         the first generation at which the rule holds; None: at none.
    judged     the numbers behind it: value, reference, y against the level.
    """

    collapsed: bool | None
    at: int | None
    judged: Judged
    words: str

    @property
    def undefined(self) -> str:
        """Why nothing can be said, or ''."""
        return self.judged.undefined

    def __repr__(self) -> str:
        said = {True: "collapsed", False: "not collapsed", None: "not known"}[self.collapsed]
        first = "" if self.at is None else f", first at generation {self.at}"
        why = f" ({self.undefined})" if self.undefined else ""
        return f"<Verdict {said}{first}{why}: {self.words}>"


class Curve:
    """What was measured of generations made elsewhere.  Made by `engine.measure`.

    sources  the files of the generations, in their order.
    n        samples of each generation that were compared.
    behind   the extractor or network behind each metric that has one.
    rule     that `judge` goes by; None: none was given.
    """

    def __init__(
        self,
        real: Real,
        sources: Sequence[str],
        sets: Sequence[Samples],
        rows: Sequence[Generation],
        metrics: Sequence[MeasureSpec],
        rule: CollapseRule | None,
        behind: Mapping[str, str],
    ) -> None:
        self._real, self.sources, self._sets = real, tuple(sources), tuple(sets)
        self.rows, self._metrics, self.rule = tuple(rows), tuple(metrics), rule
        self.behind = dict(behind)
        self.n = len(self._sets[0])
        self._kind: str | None = real.part.trait("GIVES")

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was measured, by the names that rows have."""
        return tuple(metric.id for metric in self._metrics)

    def frame(self) -> pd.DataFrame:
        """A row per generation: t, source, n, every metric with its floor and count, status.

        A copy; undefined values are NaN, with their reasons in `undefined`.
        """
        import pandas as pd

        from analysis.frame.wide import row_of, typed

        rows = [
            {"t": row.t, "source": source, "n": self.n, **row_of(row)}
            for row, source in zip(self.rows, self.sources, strict=True)
        ]
        last = ["status", "reason", "undefined"]
        names = dict.fromkeys(name for row in rows for name in row)
        return typed(pd.DataFrame(rows, columns=[n for n in names if n not in last] + last))

    @named
    def judge(self, collapse: Mapping[str, Any] | None = None) -> Verdict:
        """Judge the generations by a collapse rule, as an experiment file has it; None: by that
        given to `measure`.  SpecError for a rule that cannot be.
        """
        rule = self.rule if collapse is None else rule_of(collapse, self._metrics, self._kind)
        if rule is None:
            raise ValueError('no collapse rule was given; give one: {"metric": "fid", "above": 3}')
        points = points_of(self.rows, rule)
        judged = rule.judge(points)
        return Verdict(judged.verdict, rule.first_passage(points), judged, rule.words())

    @named
    def plot(self, metric: str | None = None, *, width: float = 7.2) -> Figure:
        """Draw a metric over the generations, with its floor; None: the first one.

        width: in inches.  LookupError where it was not measured.
        """
        from analysis.report.generations import curve_of, keys_of

        there = keys_of(self.rows)
        if metric is not None and metric not in there:
            raise LookupError(f"{metric!r} was not measured; there are: {', '.join(there)}")
        shown = self._metrics[0].headline(self._kind) if metric is None else metric
        return curve_of(self.rows, shown).draw(width)

    @named
    def report(self, to: str | Path) -> Path:
        """Write a page with verdict, curves, floors and samples, and return where it is.

        to: a file ending in .html, complete in itself; or a folder, which also gets every figure
        with its numbers.
        """
        from analysis.report.generations import Made, write

        verdict = None if self.rule is None else repr(self.judge())[1:-1]
        about = [("real data", self._real.part.label), ("samples of each generation", str(self.n))]
        about += [(f"features of {name}", network) for name, network in self.behind.items()]
        made = Made(self.rows, self.sources, self._sets, self._real.real, verdict, about)
        return write(made, Path(to))

    def __repr__(self) -> str:
        made, real = show.counted(len(self.rows), "generation"), self._real.part.name
        return f"<Curve of {made} against {real}, n {self.n}: {', '.join(self.metrics)}>"

    def _repr_html_(self) -> str:
        verdict = [] if self.rule is None else [repr(self.judge())[1:-1]]
        return show.heading(repr(self)[1:-1]) + show.lines(verdict) + show.table(self.frame())


# ---- measuring -----------------------------------------------------------------------------------


@named
def measure(
    real: str | Path | Mapping[str, Any],
    generations: Sequence[str | Path],
    *,
    metrics: Sequence[str | Mapping[str, Any]],
    collapse: Mapping[str, Any] | None = None,
    n: int | None = None,
    n_real: int | None = None,
    seed: int = 0,
    size: int | None = None,
    columns: Sequence[str] | None = None,
    label: str | None = None,
    held_out_fraction: float | None = None,
) -> Curve:
    """Measure generations that were made elsewhere, in their order, against real data.

    real: a folder of pictures (with a subfolder per class, or without classes), an npz of `images`
    and `labels`, a CSV or Parquet table; or a data set by name, or {name: ..., its parameters}.
    generations: the same kinds of files; an npz of `points` for real data that are points.
    metrics, collapse: as in an experiment file.  n: samples of each generation to compare, None: as
    many as the smallest has; n_real: real samples to take, None: all but those held out.  size: cut
    all pictures to it, None: they must have the size of the real ones.  columns, label: of tables.

    The same samples have the numbers that a lineage of this data set, n_real and seed has.
    SpecError with all problems; EnvironmentProblem without the weights of a given network.
    """
    problems: list[Problem] = []
    more: JsonObject = {"size": size, "columns": columns, "label": label}
    more["held_out_fraction"] = held_out_fraction
    given = plain({key: value for key, value in more.items() if value is not None})
    checked_part.cache_clear()  # a part looks at its files once: those of now
    known = real_data(real, given, n_real, seed, lambda p: problems.append(Problem(p, ("real",))))
    specs = _metrics(metrics, problems)
    sets: list[Samples] = []
    if known is not None:
        sets = _sets(known.like, generations, n, seed, problems)
        labelled = all(own.y is not None for own in sets)
        problems += _unmeasurable(specs, known, labelled)
        problems += _too_many(specs, min(map(len, sets), default=0))
    kind = None if known is None else known.part.trait("GIVES")
    asked = [spec for _, spec in specs]
    rule = None if collapse is None else _rule(collapse, asked, kind, problems)
    if problems or known is None:
        raise SpecError(SOURCE, problems)
    if lack := weights_lacking(asked, known.part):
        raise EnvironmentProblem(lack)
    elsewhere = Elsewhere(known.dataset, known.real, asked, len(sets[0]), seed)
    rows = list(elsewhere.generations(sets))
    places = list(map(str, generations))
    return Curve(known, places, sets, rows, asked, rule, elsewhere.behind)


def _metrics(
    given: Sequence[str | Mapping[str, Any]], problems: list[Problem]
) -> list[tuple[int, MeasureSpec]]:
    """The metrics with their places in the list."""
    if not given:
        problems.append(Problem("name at least one metric, such as fid", ("metrics",)))
    found = []
    for i, value in enumerate(given):
        asked, settings = measured(as_part(plain(value)))
        if faults := faulty(settings):
            problems += [Problem(said, ("metrics", i)) for said, _ in faults]
            continue
        part, complaints = checked_part("metric", json.dumps(asked))
        problems += [Problem(message, ("metrics", i)) for message, _ in complaints]
        if part is not None:
            found.append((i, MeasureSpec(part, **settings)))
    return found


def _unmeasurable(
    specs: Sequence[tuple[int, MeasureSpec]], known: Real, labelled: bool
) -> list[Problem]:
    """The metrics that need what these data, or samples without their generator, do not have."""
    reasons = [(i, lacking(m.part, known.part, Unknown(labelled))) for i, m in specs]
    return [Problem(reason, ("metrics", i)) for i, reason in reasons if reason]


def _too_many(specs: Sequence[tuple[int, MeasureSpec]], have: int) -> list[Problem]:
    """The metrics that are to compare more samples than the generations have."""
    return [
        Problem(f"{m.id} is to compare n {m.n:,} samples, {have:,} are compared", ("metrics", i))
        for i, m in specs
        if have and m.n is not None and m.n > have
    ]


def _sets(
    like: Like, places: Sequence[str | Path], n: int | None, seed: int, problems: list[Problem]
) -> list[Samples]:
    """n samples of each generation that can be read."""
    from engine.lineage.recipe import rng

    if not places:
        problems.append(Problem("give at least one generation", ("generations",)))
    read: list[tuple[int, Samples]] = []
    for i, place in enumerate(places):
        try:
            read.append((i, like.read(Path(expanded(str(place))))))
        except OSError as error:
            problems.append(Problem(unread(error.filename or place, error), ("generations", i)))
        except ValueError as error:
            problems.append(Problem(str(error), ("generations", i)))
    wanted = min((len(own) for _, own in read), default=0) if n is None else n
    for i, own in read:
        if len(own) < max(wanted, 2):
            said = f"{places[i]} has {len(own)} samples, {max(wanted, 2)} are to be compared"
            problems.append(Problem(said, ("generations", i)))
    return [_first(own, wanted, rng(seed, "rows", i)) for i, own in read]


def _first(samples: Samples, n: int, stream: Any) -> Samples:
    """n of the samples: of labelled ones the first, whose classes are mixed; else drawn at random,
    in their order.
    """
    if n >= len(samples):
        return samples
    if samples.y is not None:
        return samples.take(slice(0, n))
    rows = stream.permutation(len(samples))[:n]
    rows.sort()
    return samples.take(rows)


def rule_of(
    collapse: Mapping[str, Any], metrics: Sequence[MeasureSpec], kind: str | None
) -> CollapseRule:
    """A collapse rule about these metrics on a kind of data; SpecError with what is wrong."""
    problems: list[Problem] = []
    found = _rule(collapse, metrics, kind, problems)
    if problems or found is None:
        raise SpecError(SOURCE, problems)
    return found


def _rule(
    collapse: Mapping[str, Any],
    metrics: Sequence[MeasureSpec],
    kind: str | None,
    problems: list[Problem],
) -> CollapseRule | None:
    try:
        rule = CollapseRule.from_dict(plain(collapse))
    except ValidationError as error:
        for e in distinct(error):
            said = explain(e, list(CollapseRule.model_fields))
            problems.append(Problem(said, ("collapse", *e["loc"])))
        return None
    judgeable(rule, metrics, lambda said, path: problems.append(Problem(said, path)))
    return by_keys(rule, metrics, kind)
