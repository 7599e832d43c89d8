"""A metric at work in a lineage: prepared once, gated, and its answer flattened into numbers and
reasons.

Arrays over replicates become their mean, standard error and quantiles; whatever is not finite
becomes undefined, with a reason.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from engine._foreign import one_line
from engine.lineage.recipe import real_key, rng
from engine.parts import (
    Answer,
    Around,
    Dataset,
    Finding,
    Generator,
    Metric,
    Number,
    Undefined,
    Value,
)
from engine.registry import describe
from engine.samples import Samples
from engine.seams.seam import WrongAnswer
from engine.spec import LineageSpec, MeasureSpec, Part
from engine.status import Status
from engine.store.keys import QUANTILES, beside
from engine.store.measured import Measured
from engine.store.reader import UNASKED

MOST_PREPARED = 64  # times the tasks of a stream: those of one task are as much smaller
# of a data set that holds nothing out, or other rows; not of a machine, or of time that is up
FAULTS = (
    Finding,
    WrongAnswer,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
)
ALWAYS = MeasureSpec(Part("metric", UNASKED))  # of every draw that is made


class Measure:
    """One prepared metric: (samples, generator, around, rng) -> what was measured."""

    def __init__(self, metric: Metric, spec: MeasureSpec) -> None:
        self.metric, self.spec = metric, spec

    def __call__(
        self,
        samples: Samples,
        generator: Generator,
        around: Around,
        stream: np.random.Generator,
    ) -> Measured:
        return self._flat(self._answer(samples, generator, around, stream))

    def of_task(
        self,
        task: int,
        samples: Samples,
        generator: Generator,
        around: Around,
        stream: np.random.Generator,
    ) -> Measured:
        """What it says of a task's samples under the keys of the task: those in PER_TASK."""
        answer = self._answer(samples, generator, around, stream)
        known = self.spec.part.trait("PER_TASK")
        return self._flat({f"{key}/task_{task}": answer[key] for key in known if key in answer})

    def _answer(
        self, samples: Samples, generator: Generator, around: Around, stream: np.random.Generator
    ) -> Answer:
        with np.errstate(all="ignore"):
            return self.metric(samples, generator, around, stream)

    def _flat(self, answer: Answer) -> Measured:
        found = flatten({named(self.spec, key): value for key, value in answer.items()})
        return replace(found, about=self.about)

    @property
    def about(self) -> Mapping[str, str]:
        """What "auto" came to mean: the extractor, the network."""
        about: Mapping[str, str] = getattr(self.metric, "about_", {})
        return about


def named(spec: MeasureSpec, key: str) -> str:
    """The metric's id instead of its name, so that two settings of one metric stay apart."""
    return spec.id + key.removeprefix(spec.part.name)


def undefined_of_task(spec: MeasureSpec, task: int, reason: str) -> Measured:
    """The keys of a task, none of which has a value, for one reason."""
    keys = (named(spec, f"{key}/task_{task}") for key in spec.part.trait("PER_TASK"))
    return Measured({}, dict.fromkeys(keys, reason))


_prepared: OrderedDict[tuple[str, ...], Measure] = OrderedDict()


def prepared(
    metric: MeasureSpec,
    spec: LineageSpec,
    dataset: Dataset,
    real: Samples,
    n: int,
    tasks: Sequence[int] = (0,),
) -> Measure:
    """The metric with its reference for n synthetic samples; shared by all lineages of this process
    that have the same real set: of a stream, that of these tasks.
    """
    key = (metric.stored, str(n), *(real_key(spec, j) for j in tasks))
    if key not in _prepared:
        made = metric.part.make()
        made.prepare(dataset, real, n, rng(spec.seed, f"reference {metric.part.name}"))
        _prepared[key] = Measure(made, metric)
        while len(_prepared) > MOST_PREPARED * max(1, len(spec.stream)):
            _prepared.popitem(last=False)
    _prepared.move_to_end(key)
    return _prepared[key]


def unasked(spec: LineageSpec, measure: Callable[[MeasureSpec], Measured]) -> Measured:
    """What a row says of its draw's variance, whatever a sweep measures: undefined where such data
    have none, and where measuring it fails, which ends no lineage.
    """
    if spec.lacking(ALWAYS.part):
        return _nothing(f"no variance is measured of {spec.dataset.traits.kind}")
    try:
        return measure(ALWAYS)
    except FAULTS as error:
        return _nothing(f"measuring it failed with {one_line(f'{type(error).__name__}: {error}')}")


def _nothing(reason: str) -> Measured:
    """Undefined, for one reason."""
    first = next(iter(describe("metric", UNASKED).trait("KEYS", {})))
    return Measured({}, {first: reason})


def gate(samples: Samples, real: Samples, classes: Sequence[int] = ()) -> tuple[Status, str]:
    """Status and reason of a fresh draw.  Finding when its values are not finite.

    classes: those that must be there; none: those of the real set.
    """
    x = samples.x
    if not np.issubdtype(x.dtype, np.integer) and not np.isfinite(x).all():
        raise Finding(
            "diverged",
            f"{int((~np.isfinite(x)).sum()):,} of {x.size:,} sampled values are not finite",
        )
    kind = samples.declared.kind  # one token left is a state of its own: `discrete` counts it
    if kind != "tokens" and len(x) > 1 and (x[0] == x[1]).all() and (x == x[:1]).all():
        return Status.CONSTANT, f"all {len(x):,} samples are equal"
    if samples.y is not None and real.y is not None and kind != "regression":
        lost = np.setdiff1d(classes or real.y, samples.y)
        if len(lost):
            return Status.CLASS_EXTINCT, f"no samples of class {', '.join(map(str, lost))}"
    return Status.OK, ""


def numbers_of(answer: Answer) -> dict[str, Number]:
    """Every number of an answer under the key that a row has for it; a Value becomes up to four."""
    found: dict[str, Number] = {}
    for key, given in answer.items():
        value = given if isinstance(given, Value) else Value(given)
        found[key] = value.value
        for column, number in (
            ("n", value.n),
            ("floor", value.floor),
            ("floor_sd", value.floor_sd),
        ):
            if number is not None:
                found[beside(key, column)] = number
    return found


def flatten(answer: Answer) -> Measured:
    """Numbers under `values`, reasons under `undefined`; an array [replicates] becomes its mean,
    standard error and quantiles.
    """
    values: dict[str, float] = {}
    undefined: dict[str, str] = {}
    numbers = numbers_of(answer)
    arrays = {
        k: np.asarray(v, dtype=float)
        for k, v in numbers.items()
        if isinstance(v, np.ndarray) and np.size(v) > 1
    }
    for key, value in numbers.items():
        if key in arrays:
            continue
        if isinstance(value, Undefined):
            undefined[key] = value.reason
        elif np.isfinite(number := float(np.squeeze(value))):
            values[key] = number
        else:
            undefined[key] = f"the value is {number}"
    if arrays:
        _summarise(arrays, values, undefined)
    return Measured(values, undefined)


def _summarise(
    arrays: dict[str, np.ndarray], values: dict[str, float], undefined: dict[str, str]
) -> None:
    table = np.stack(list(arrays.values()))  # [keys, replicates]
    finite = np.isfinite(table)
    with np.errstate(all="ignore"):
        mean, se = table.mean(axis=1), table.std(axis=1, ddof=1) / np.sqrt(table.shape[1])
        quantiles = _quantiles(table)
    for i, key in enumerate(arrays):
        if finite[i].all():
            values |= {key: float(mean[i]), beside(key, "se"): float(se[i])}
        else:
            undefined[key] = (
                f"{int((~finite[i]).sum())} of {table.shape[1]} replicates have no finite value"
            )
        values |= {
            beside(key, name): float(q)
            for name, q in zip(QUANTILES, quantiles[:, i], strict=True)
            if np.isfinite(q)
        }


def _quantiles(table: np.ndarray) -> np.ndarray:
    """[quantiles, keys] of a table [keys, replicates], interpolated linearly as numpy does, at a
    third of its cost.
    """
    ranked = np.sort(table, axis=1)
    place = np.array(list(QUANTILES.values())) * (table.shape[1] - 1)
    below = place.astype(int)
    above = np.minimum(below + 1, table.shape[1] - 1)
    values: np.ndarray = (
        ranked[:, below] + (ranked[:, above] - ranked[:, below]) * (place - below)
    ).T
    return values
