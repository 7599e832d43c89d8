"""What the answers of parts must be; Wrong says what was asked, what came, and the mend.

All of it is cheap: shapes and types, and one pass over the values of points; of pictures, whose
bytes are all allowed, nothing is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.parts import Draw, Pick, Undefined, Value, declared, traits_of
from engine.samples import LENGTHS, PROMPT_LENGTHS, REAL, Samples, Traits

HOW = ("without_replacement", "uniform_source")
AXES = {"points": 3, "regression": 3, "tokens": 2, "text": 3, "images": 4}
WHOLE = ("tokens", "text")  # kinds of data that are whole numbers
KEEPABLE = ("uint8", "uint16", "int32", "int64", "float32", "float64")  # what an output can hold
RECORDS = (LENGTHS, PROMPT_LENGTHS)  # what stands beside rows that are records
MOST_NAMED = 3


class Wrong(Exception):
    """An answer that is none: what is wrong with it, and the mend."""

    def __init__(self, fault: str, mend: str) -> None:
        super().__init__(f"{fault}; {mend}")
        self.fault, self.mend = fault, mend


def require(holds: bool, fault: str, mend: str) -> None:
    if not holds:
        raise Wrong(fault, mend)


def what(value: object) -> str:
    """What an object is, for people."""
    kind = type(value).__name__
    if type(value).__module__.split(".")[0] == "torch":
        more = [f"{getattr(value, 'dtype', '')}", f"on {getattr(value, 'device', 'no device')}"]
        more += ["that requires grad"] if getattr(value, "requires_grad", False) else []
        return f"a torch {kind} ({', '.join(more)})"
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)} of {value.dtype}"
    if value is None or isinstance(value, bool | int | float | complex | str):
        return f"{value!r:.60}"
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


# ---- samples -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """What a row of the data is, without the data: generators draw such rows."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    labelled: bool
    traits: Traits | None
    beside: frozenset[str] = frozenset()

    @classmethod
    def of(cls, data: Samples) -> Rows:
        first = data.blocks[0] if data.blocks else data  # the whole need not be put together
        labelled, beside = first.y is not None, frozenset(first.beside)
        return cls(first.x.shape[1:], first.x.dtype, labelled, first.traits, beside)

    @property
    def kind(self) -> str:
        return self.traits.kind if self.traits else ""


def array(value: object, name: str) -> None:
    """Wrong unless it is an array of numbers of numpy."""
    plain = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
    if plain and value.dtype.kind in "fiu":  # type: ignore[attr-defined]  # it is an array
        return
    said, mend = what(value), f"give {name} as a numpy array"
    mend += " (of a tensor: .detach().cpu().numpy())" if "torch" in said else ""
    raise Wrong(f"{name} is {said}" + (", which are no real numbers" if plain else ""), mend)


def samples(value: object, n: int, least: int) -> Samples:
    """Samples of `least` to n rows; Wrong."""
    if not isinstance(value, Samples):
        raise Wrong(f"asked for Samples, it returned {what(value)}", "return Samples(x, y)")
    array(value.x, "x")
    if not least <= len(value.x) <= n:
        asked = f"{n:,} rows" if least == n else f"at most {n:,} rows"
        raise Wrong(f"asked for {asked}, it drew {len(value.x):,}", "return as many rows as asked")
    if value.y is not None:
        array(value.y, "y")
    return value


def labels(y: np.ndarray | None, n: int, classes: int | None, wanted: bool) -> None:
    """Wrong unless class labels are there where they are wanted, one for each row, of a class."""
    mend = "return Samples(x, y) with a whole number from 0 to CLASSES - 1 for every row"
    if y is None or not wanted:
        none = "return Samples(x) without labels, or declare them (CLASSES, CONDITIONAL)"
        require(
            (y is not None) == wanted,
            f"the rows {'lack' if wanted else 'have'} labels",
            mend if wanted else none,
        )
        return
    require(y.shape == (n,), f"asked for {n:,} labels, it gave {what(y)}", mend)
    require(y.dtype.kind in "iu", f"the labels are {what(y)}, not whole numbers", mend)
    if classes and n:
        low, high = int(y.min()), int(y.max())
        inside = low >= 0 and high < classes
        require(inside, f"labels go from {low} to {high}, and there are {classes} classes", mend)


def finite(x: np.ndarray, name: str) -> None:
    """Wrong unless all values are finite."""
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).sum())
        mend = "give finite numbers, or leave such rows out"
        raise Wrong(f"{bad:,} of {x.size:,} values of {name} are nan or infinite", mend)


def of_dataset(part: object, value: object, n: int, least: int) -> None:
    """Real rows, as the data set declares them."""
    found, traits = samples(value, n, least), traits_of(part)
    x, y, kind = found.x, found.y, traits.kind
    axes, seen = AXES.get(kind), what(x)
    mend = f"give x of {kind} as engine/samples.py says"
    require(axes in (None, x.ndim), f"x of {kind} is {seen}, not of {axes} axes", mend)
    require(kind != "images" or x.dtype == np.uint8, f"pictures are {seen}, not uint8", mend)
    require(kind not in WHOLE or x.dtype.kind in "iu", f"{kind} is {seen}, not whole", mend)
    _in_vocabulary(x, traits, mend)
    _beside(found, frozenset(RECORDS if declared(part, "RECORDS") else ()))
    finite(x, "x")
    if traits.replicates is not None:
        there = x.shape[1] if x.ndim > 1 else 0
        fault = f"REPLICATES is {traits.replicates}, and x is {seen}"
        require(there == traits.replicates, fault, "let both be the same")
    if kind == "regression":
        shaped = y is not None and y.shape == x.shape[:2]
        require(shaped, f"y is {what(y)} beside x, {seen}", "return responses [n, replicates]")
        finite(x if y is None else y, "y")
    elif traits.classes is not None:
        labels(y, len(x), traits.classes, wanted=bool(traits.classes))
    born = bool((found.born == REAL).all())
    require(born, "some rows are not born REAL", "leave born out: the engine says who drew a row")


def _in_vocabulary(x: np.ndarray, traits: Traits, mend: str) -> None:
    """Wrong unless all tokens of a text are 0..vocabulary-1."""
    if traits.kind != "text" or traits.vocabulary is None or not x.size:
        return
    low, high = int(x.min()), int(x.max())
    inside = low >= 0 and high < traits.vocabulary
    fault = f"tokens go from {low} to {high}, and the vocabulary has {traits.vocabulary}"
    require(inside, fault, mend)


def _beside(found: Samples, wanted: frozenset[str]) -> None:
    """Wrong unless these arrays stand beside the rows; of records, lengths that fit into them."""
    mend = "return Samples(x, beside={name: array [n], ...}), see engine/samples.py"
    named = ", ".join(sorted(found.beside)) or "nothing"
    asked = ", ".join(sorted(wanted)) or "nothing"
    require(found.beside.keys() == wanted, f"{named} stands beside rows, not {asked}", mend)
    for name, own in found.beside.items():
        array(own, name)
        require(own.shape == (len(found.x),), f"{name} is {what(own)}", mend)
    lengths, prompts = found.lengths, found.prompt_lengths
    if lengths is None or prompts is None or not len(lengths):
        return
    inside = prompts.min() >= 0 and (prompts <= lengths).all()
    inside &= bool(lengths.max() <= found.x.shape[-1])
    fault = f"a row has {found.x.shape[-1]} tokens, and its lengths are not those of a part of it"
    require(bool(inside), fault, "let 0 <= prompt_lengths <= lengths <= tokens of a row")


def like(found: Samples, rows: Rows, conditional: bool | None) -> None:
    """Drawn rows, as the rows are that they stand for.

    conditional: whether they were drawn by labels; None: nobody knows.
    """
    x = found.x
    bytes_ = (rows.dtype == np.uint8) == (x.dtype == np.uint8)
    whole_ = rows.kind not in WHOLE or x.dtype.kind in "iu"
    if x.shape[1:] != rows.shape or not bytes_ or not whole_ or x.dtype.name not in KEEPABLE:
        asked = f"asked for rows {list(rows.shape)} of {rows.dtype} as the data have"
        mend = f"return such rows, as one of {', '.join(KEEPABLE)}"
        raise Wrong(f"{asked}, it gave {what(x)}", mend)
    if rows.traits is not None:
        _in_vocabulary(x, rows.traits, "draw such tokens")
    _beside(found, rows.beside)
    if rows.kind == "regression":
        shaped = found.y is not None and found.y.shape == x.shape[:2]
        fault = f"asked for responses {list(x.shape[:2])}, it gave {what(found.y)}"
        require(shaped, fault, "return Samples(x, y)")
    elif rows.traits is not None and (conditional is not None or found.y is not None):
        labels(found.y, len(x), rows.traits.classes, conditional is None or conditional)


def of_sampling(value: object, n: int, around: Any) -> None:
    """A draw of n rows like the real ones."""
    if not isinstance(value, Draw):
        mend = "return Draw(samples, report)"
        raise Wrong(f"asked for a Draw, it returned {what(value)}", mend)
    like(samples(value.samples, n, n), Rows.of(around.real), None)
    report(value.report)


def of_generator(part: object, value: object, n: int, asked: Any, rows: Rows | None) -> None:
    """n rows like those it was fitted to; asked: the labels it was to draw by."""
    found = samples(value, n, n)
    if rows is None:
        return
    conditional = None
    if asked is not None or not rows.labelled:
        conditional = rows.labelled and bool(declared(part, "CONDITIONAL"))
    like(found, rows, conditional)


# ---- numbers -------------------------------------------------------------------------------------


def is_number(value: object) -> bool:
    """Whether it is a real number of Python or numpy."""
    return isinstance(value, int | float | np.integer | np.floating)


def report(value: object) -> None:
    """Numbers by name, as a fit and a draw report them."""
    mend = "return {name: number}, {} where there is nothing to say (of a tensor: .item())"
    if not isinstance(value, Mapping):
        raise Wrong(f"asked for a report, it returned {what(value)}", mend)
    for key, number in value.items():
        require(isinstance(key, str), f"a name of the report is {what(key)}", mend)
        require(is_number(number), f"{key} of the report is {what(number)}, no number", mend)


def scores(value: object, given: Samples) -> None:
    """A score of every sample, or of every sample and replicate."""
    array(value, "the scores")
    assert isinstance(value, np.ndarray)
    n, mend = len(given), "return one score for every sample"
    fits = value.shape == (n,) or (given.x.ndim > 2 and value.shape == given.x.shape[:2])
    fits |= given.x.dtype.kind in "iu" and given.x.ndim == 2 and value.shape == given.x.shape
    require(fits, f"asked for scores of {n:,} samples, it gave {what(value)}", mend)
    bad = int(np.isnan(value).sum()) if value.dtype.kind == "f" else 0
    if bad and (given.x.dtype.kind != "f" or np.isfinite(given.x).all()):
        fault = f"{bad:,} of {value.size:,} scores are nan, of samples that are finite"
        raise Wrong(fault, "give every sample a number; -inf is one that is never chosen")


def of_metric(name: str, value: object, is_declared: Any) -> None:
    """Values by key, of keys that the metric declares; is_declared(key) says so."""
    mend = "return {key: Value(...), a number, or Undefined(reason)}"
    if not isinstance(value, Mapping):
        raise Wrong(f"asked for values by key, it returned {what(value)}", mend)
    require(bool(value), "it returned no key at all", mend)
    for key, answer in value.items():
        if not isinstance(key, str) or not (key == name or key.startswith(f"{name}/")):
            raise Wrong(f"it returned the key {key!r:.60}", f"call keys {name}, {name}/...")
        if not is_declared(key):
            raise Wrong(f"it returned the key {key!r:.60}", "declare it in KEYS")
        parts = answer if isinstance(answer, Value) else Value(answer)
        for word in ("value", "floor", "floor_sd", "n"):
            if (found := getattr(parts, word)) is not None or word == "value":
                _number(found, key if word == "value" else f"the {word} of {key}", mend)
        nan = isinstance(parts.value, float) and parts.value != parts.value
        require(not nan, f"{key} is nan", "return Undefined(reason) where there is no value")
    shapes = {v.shape for v in value.values() if isinstance(v, np.ndarray) and v.size > 1}
    require(len(shapes) < 2, f"its arrays have the shapes {shapes}", "return [replicates] of all")


def _number(value: object, who: str, mend: str) -> None:
    if isinstance(value, Undefined):
        reason = value.reason
        told = isinstance(reason, str) and bool(reason)
        require(told, f"{who} is Undefined without a reason", "say why in words")
        return
    if isinstance(value, np.ndarray):
        array(value, who)
        require(value.size == 1 or value.ndim == 1, f"{who} is {what(value)}", mend)
        return
    require(is_number(value), f"{who} is {what(value)}, no number", mend)


# ---- recipes -------------------------------------------------------------------------------------


def whole(value: object, least: int) -> bool:
    number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return number and int(value) >= least  # type: ignore[call-overload]  # it is a number


def needs(value: object, n_real: int) -> None:
    mend = "return a whole number from 0"
    require(whole(value, 0), f"needs({n_real}) returned {what(value)}", mend)


def recipe(value: object, sizes: Mapping[int, int], t: int) -> None:
    """Picks of sources that are there; whether these hold enough is a matter of the sizes that the
    experiment asks for.
    """
    mend = "see Policy.recipe in engine/parts.py"
    if not isinstance(value, tuple | list):
        raise Wrong(f"asked for a tuple of Pick, it returned {what(value)}", mend)
    for pick in value:
        if not _fits(pick, sizes, t):  # words take longer than looking: a plan has a million picks
            _refuse(pick, sizes, t)


def _fits(pick: object, sizes: Mapping[int, int], t: int) -> bool:
    return (
        isinstance(pick, Pick)
        and isinstance(pick.sources, tuple)
        and bool(pick.sources)
        and next(_absent(pick, sizes, t), None) is None
        and whole(pick.count, 0)
        and pick.how in HOW
        and whole(pick.per_class, 0)
    )


def _refuse(pick: object, sizes: Mapping[int, int], t: int) -> None:
    mend = "see Policy.recipe in engine/parts.py"
    if not isinstance(pick, Pick):
        raise Wrong(f"the recipe holds {what(pick)}, not a Pick", mend)
    there = isinstance(pick.sources, tuple) and bool(pick.sources)
    require(there, f"generation {t} picks of {what(pick.sources)}", mend)
    absent = list(_absent(pick, sizes, t))
    fault = f"generation {t} picks of sources {absent[:MOST_NAMED]}, which are not there yet"
    require(not absent, fault, f"there are {sorted(s for s in sizes if s < t)}")
    require(whole(pick.count, 0), f"generation {t} picks {what(pick.count)} rows", mend)
    require(pick.how in HOW, f"how is {pick.how!r}", f"use one of {', '.join(HOW)}")
    require(whole(pick.per_class, 0), f"per_class is {what(pick.per_class)}", mend)


def _absent(pick: Pick, sizes: Mapping[int, int], t: int) -> Iterator[object]:
    for source in pick.sources:
        if not whole(source, -1 - t) or source not in sizes or source >= t:
            yield source
