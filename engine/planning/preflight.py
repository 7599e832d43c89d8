"""What a sweep needs of the computer it runs on, looked at before anything runs: data sets, weights
of extractors, and extractors that will be trained first.

What is lacking is no fault of the experiment: a plan says it, a run refuses before it starts.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from engine import _cache as cache
from engine.contents import Contents, Lack
from engine.distances import extractors
from engine.registry import describe
from engine.spec import LineageSpec, MeasureSpec, Part, Sweep
from engine.store.store import Store


@dataclass(frozen=True)
class Training:
    """An extractor that is trained here before the first measurement, once for all lineages.

    seconds  of one CPU core, roughly: as measured when these files were trained on before, else
             as declared.
    """

    extractor: str
    data: str
    rows: int
    seconds: float
    measured: bool


@dataclass(frozen=True)
class Preflight:
    """What was found.

    data      what the finite data sets hold, in the order of the lineages.
    lacks     what must be there and is not.
    trains    extractors that are not in the cache.
    no_cache  why nothing that is read or trained first can be kept for the next run, or ''.
    unchecked  weights of one's own that are taken as they are, a sentence each.
    """

    data: tuple[Contents, ...] = ()
    lacks: tuple[Lack, ...] = ()
    trains: tuple[Training, ...] = ()
    no_cache: str = ""
    unchecked: tuple[str, ...] = ()

    @property
    def refusal(self) -> str:
        """Everything that is lacking, a line each."""
        return "\n".join(str(lack) for lack in self.lacks)


NOTHING = Preflight()


def look(sweep: Sweep, lineages: Iterable[LineageSpec] | None = None) -> Preflight:
    """Look at what these lineages need, by default all; each file is looked at once."""
    lineages = sweep.all_lineages if lineages is None else tuple(lineages)
    first: dict[str, LineageSpec] = {}  # of each data set
    rows: dict[str, int] = {}  # the most that are asked of it
    for spec in lineages:
        key = _key(spec.dataset)
        first.setdefault(key, spec)
        taken = spec.n_real * spec.parts_until(sweep.generations)
        rows[key] = max(rows.get(key, 0), taken)
    data: dict[Contents, None] = {}
    lacks: dict[Lack, None] = {}
    trains: dict[Training, None] = {}
    unchecked: dict[str, None] = {}
    for key, spec in first.items():
        found = spec.dataset.contents
        if isinstance(found, Lack):
            lacks[found] = None
        if isinstance(found, Contents):
            data[found] = None
            lacks |= dict.fromkeys(_absent_rest(found, rows[key]))
        for name in _extractors(sweep.metrics_of(spec), spec.dataset, found):
            lacks |= dict.fromkeys(_weights(name))
            trains |= dict.fromkeys(_training(name, found))
            unchecked |= dict.fromkeys(_unchecked(name))
    kept = bool(trains) or any(spec.dataset.reads for spec in first.values())
    no_cache = cache.problem() if kept else ""
    return Preflight(tuple(data), tuple(lacks), tuple(trains), no_cache, tuple(unchecked))


def lacking(sweep: Sweep, store: Store, only: Sequence[str] = ()) -> str:
    """What is lacking for what is left to run of these lineages (ids, or their beginnings; by
    default all), or ''.
    """
    wanted = [s for s in sweep.all_lineages if not only or s.id.startswith(tuple(only))]
    if not look(sweep, wanted).lacks:
        return ""
    return look(sweep, unfinished(sweep, store, wanted)).refusal


def unfinished(sweep: Sweep, store: Store, lineages: Iterable[LineageSpec]) -> list[LineageSpec]:
    """The lineages with a generation, a metric or a file left to make."""
    from engine.lineage.history import lineage_of

    return [spec for spec in lineages if not lineage_of(sweep, store, spec).complete()]


def look_at_unfinished(
    sweep: Sweep, store: Store, founders: Mapping[str, str], there: Container[str]
) -> Preflight:
    """What the whole sweep's data are, and what is needed for what is left to run.

    founders  the first draw of each lineage, by its id.
    there     draws that are committed: a lineage without its first is not looked at further.
    """
    found = look(sweep)
    if not found.lacks and not found.trains:
        return found
    begun = [spec for spec in sweep.all_lineages if founders[spec.id] in there]
    if not begun:
        return found
    new = [spec for spec in sweep.all_lineages if founders[spec.id] not in there]
    needed = look(sweep, [*new, *unfinished(sweep, store, begun)])
    return replace(needed, data=found.data)


def parts_with_commands(sweep: Sweep) -> list[Part]:
    """The parts of a sweep that would run command lines of its file, each once."""
    found: dict[str, Part] = {}
    for spec in sweep.lineages:
        for part in (spec.dataset, spec.generator, spec.policy, spec.sampling):
            found.setdefault(f"{part.kind} {part.text}", part)
    for metric in sweep.metrics:
        found.setdefault(f"metric {metric.part.text}", metric.part)
    return [part for part in found.values() if part.command_lines]


def _key(dataset: Part) -> str:
    return f"{dataset.text} {dataset.params.get('root')}"


def _absent_rest(found: Contents, rows: int) -> Iterator[Lack]:
    lack = found.lack(rows)
    if lack is not None:
        yield lack


def weights_lacking(metrics: Iterable[MeasureSpec], dataset: Part) -> str:
    """What these metrics of a data set lack of given networks, a line each, or ''."""
    wanted = dict.fromkeys(_extractors(metrics, dataset, dataset.contents))
    lacks = dict.fromkeys(lack for name in wanted for lack in _weights(name))
    return "\n".join(map(str, lacks))


def _extractors(
    metrics: Iterable[MeasureSpec], dataset: Part, found: Contents | Lack | None
) -> Iterator[str]:
    """The extractors that metrics use; "auto" is not known of absent data."""
    for metric in metrics:
        parameter = describe("metric", metric.part.name).parameters.get("extractor")
        if parameter is None:
            continue
        asked = metric.part.params.get("extractor", parameter.default)
        kind = dataset.constant("GIVES")
        if isinstance(found, Contents):
            yield extractors.chosen(asked, kind, found.labelled)
        elif asked != "auto":
            yield asked


def _weights(name: str) -> Iterator[Lack]:
    if name in extractors.PRETRAINED:
        lack = extractors.lack(name, extractors.weights_folder())
        if lack is not None:
            yield lack


def _unchecked(name: str) -> Iterator[str]:
    if name in extractors.PRETRAINED:
        said = extractors.unchecked(name, extractors.weights_folder())
        if said:
            yield said


def _training(name: str, found: Contents | Lack | None) -> Iterator[Training]:
    if name not in extractors.TRAINED or not isinstance(found, Contents):
        return
    earlier = extractors.known(name, found)
    if earlier is not None and earlier.weights.is_there:
        return
    declared = extractors.TRAINED[name].seconds(found.train, found.shape)
    measured = None if earlier is None else earlier.seconds
    seconds = declared if measured is None else measured
    yield Training(name, found.name, found.train, seconds, measured is not None)
