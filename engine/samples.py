"""Samples: data that remembers which generation drew it.

One array layout serves truth and model alike.  The sample axis comes first; closed-form families
and small point networks carry a second axis of independent replicates, so indexing and
concatenation need not know about it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

REAL = -1  # the `born` of a real sample
MAPPED_BYTES = 256 << 20  # arrays from this size on live in files that are mapped, not in memory


LENGTHS, PROMPT_LENGTHS = "lengths", "prompt_lengths"  # beside rows of records


def _nothing() -> Any:
    return None


@dataclass(frozen=True)
class Tokenizer:
    """A pretrained tokenizer that a text is encoded with.

    digest         of its files (`_tokenizers.digest_of`): equal digests are equal tokens.
    bos, eos, pad  its own tokens that begin a text, end it and fill a row up; None: it has none.
    """

    digest: str
    bos: int | None = None
    eos: int | None = None
    pad: int | None = None


@dataclass(frozen=True)
class Traits:
    """What data are, as the data set that gives them declares; nothing is guessed from arrays.

    kind        points, tokens, text, regression, images, ...
    classes     every sample has a label 0..classes-1; 0: none has; None: known once data are read
    replicates  axis 1 of x holds so many independent replicates; None: there is no such axis
    sizes       rows to train on and rows held out, of a finite set
    vocabulary  tokens of a text are 0..vocabulary-1; None: it is none, or known once data are read
    tokenizer   of a text that a pretrained one encoded; None: it is none, or known once data are
                read
    growing     classes arrive one after another: networks are sized for all of them, whichever a
                set holds
    """

    kind: str
    classes: int | None = 0
    replicates: int | None = None
    sizes: tuple[int, int] | None = None
    vocabulary: int | None = None
    tokenizer: Tokenizer | None = None
    growing: bool = False


@dataclass(frozen=True, eq=False)
class Prompted:
    """The real texts, a row for each of a draw, whose first `given` tokens this goes on from; of
    records whose prompts, and given is 0.
    """

    real: Samples
    given: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Samples:
    """n samples with labels and provenance.

    x     [n, ...]: points [n, replicates, d] float; tokens [n, replicates] int; text [n,
          replicates, length] int; images [n, height, width, channels] uint8.
    y     class labels [n] int, or responses [n, replicates] float (regression), or None.
    born  generation that drew each sample, REAL (-1) for real data: [n], or [n, replicates] once
          rows were chosen independently per replicate.
    blocks  the whole sets these samples were concatenated from, in order (empty when this is one
            set): a generator whose fit is a sum over samples may add up per-block statistics kept
            in `memo` instead of reading old rows again.
    memo  derived values (features, sufficient statistics) by name; never part of the data's
          identity.
    traits  what they are, as their data set declares; None: nobody has said so.
    beside  more that belongs to each sample, arrays [n, ...] by name.  Of records: `lengths`, the
            tokens of a row without its padding, and `prompt_lengths`, those of its prompt, which
            is given and not learnt.
    prompted  of texts that go on from prompts, what these were: for those who judge a draw, it is
              not stored with it.
    """

    x: np.ndarray
    y: np.ndarray | None = field(default_factory=_nothing)
    born: np.ndarray = field(default_factory=_nothing)  # filled in __post_init__
    blocks: tuple[Samples, ...] = ()
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)
    traits: Traits | None = None
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)
    prompted: Prompted | None = None

    def __post_init__(self) -> None:
        if self.born is None:
            object.__setattr__(self, "born", np.full(len(self.x), REAL, dtype=np.int32))
        assert len(self.born) == len(self.x), (
            f"born has {len(self.born)} entries for {len(self.x)} samples"
        )
        assert self.y is None or len(self.y) == len(self.x), "y and x differ in length"
        for name, own in self.beside.items():
            assert len(own) == len(self.x), f"{name} and x differ in length"

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        kind = "samples" if self.traits is None else self.traits.kind
        labels = "no labels" if self.y is None else f"y {self.y.dtype} {list(self.y.shape)}"
        return f"<Samples: {kind}, x {self.x.dtype} {list(self.x.shape)}, {labels}>"

    @property
    def synthetic_fraction(self) -> float:
        """Share of samples that a model drew: counted, not believed."""
        return float(np.mean(self.born != REAL)) if len(self) else float("nan")

    @property
    def declared(self) -> Traits:
        """What they are declared to be; ValueError when nobody has said so."""
        if self.traits is None:
            raise ValueError(
                "these samples do not say what they are, and nothing is guessed from their shape; "
                "give them the traits of their data set: samples.of(traits_of(dataset))"
            )
        return self.traits

    @property
    def replicates(self) -> int | None:
        """How many independent replicates the second axis holds; None where there is no such
        axis.
        """
        return None if self.declared.replicates is None else self.x.shape[1]

    @property
    def independent_replicates(self) -> int | None:
        """The replicates for which rows are chosen independently: not where class labels, or what
        stands beside rows, are shared by them.
        """
        shared = self.y is not None and self.declared.classes != 0
        return None if shared or self.beside else self.replicates

    @property
    def lengths(self) -> np.ndarray | None:
        """Of records: tokens of each row without its padding [n]; None: all of them are."""
        return self.beside.get(LENGTHS)

    @property
    def prompt_lengths(self) -> np.ndarray | None:
        """Of records: tokens of each row's prompt [n]; None: there are no prompts."""
        return self.beside.get(PROMPT_LENGTHS)

    def of(self, traits: Traits) -> Samples:
        """The same samples, known to be what the traits say."""
        if self.traits == traits:
            return self
        return Samples(self.x, self.y, self.born, self.blocks, self.memo, traits, self.beside)

    def drawn_at(self, t: int) -> Samples:
        """The same samples, marked as drawn by the model of generation t."""
        born = np.full(len(self.x), t, dtype=np.int32)
        return Samples(self.x, self.y, born, (), {}, self.traits, self.beside, self.prompted)

    def labelled(self, y: np.ndarray) -> Samples:
        """The same samples with other labels."""
        return Samples(self.x, y, self.born, (), {}, self.traits, self.beside, self.prompted)

    def take(self, rows: np.ndarray | slice) -> Samples:
        """Rows [k] (the same for all replicates) or [k, replicates] (chosen per replicate)."""
        if isinstance(rows, np.ndarray) and rows.ndim == 2:
            return self._take_per_replicate(rows)
        y = None if self.y is None else self.y[rows]
        beside = {name: own[rows] for name, own in self.beside.items()}
        return Samples(self.x[rows], y, self.born[rows], traits=self.traits, beside=beside)

    def _take_per_replicate(self, rows: np.ndarray) -> Samples:
        assert not self.beside, "what stands beside rows is shared by the replicates"
        across = np.arange(rows.shape[1])[None, :]  # [1, replicates]
        born = (
            self.born
            if self.born.ndim == 2
            else np.broadcast_to(self.born[:, None], (len(self), rows.shape[1]))
        )
        y = (
            self.y
            if self.y is None
            else (self.y[rows, across] if self.y.ndim == 2 else self.y[rows])
        )
        return Samples(self.x[rows, across], y, born[rows, across], traits=self.traits)

    def of_class(self, label: int) -> Samples:
        """The samples of one class; possibly none."""
        assert self.y is not None
        return self.take(np.flatnonzero(self.y == label))


class Joined(Samples):
    """Sets one after the other; the long arrays are only made when somebody reads them."""

    def __init__(self, blocks: tuple[Samples, ...]) -> None:
        own: dict[str, object] = {"blocks": blocks, "memo": {}, "traits": blocks[0].traits}
        own["prompted"] = None
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return sum(len(block) for block in self.blocks)

    def __getattr__(self, name: str) -> Any:
        if name not in ("x", "y", "born", "beside"):
            raise AttributeError(name)
        value = getattr(self, f"_joined_{name}")()
        object.__setattr__(self, name, value)
        return value

    def _joined_x(self) -> np.ndarray:
        x = [block.x for block in self.blocks]
        if sum(each.nbytes for each in x) < MAPPED_BYTES:
            return np.concatenate(x)
        with (
            tempfile.TemporaryFile() as file
        ):  # nameless, on disk: the system may drop it from memory
            return np.concatenate(
                x, out=np.memmap(file, np.result_type(*x), "w+", shape=(len(self), *x[0].shape[1:]))
            )

    def _joined_y(self) -> np.ndarray | None:
        return (
            None
            if self.blocks[0].y is None
            else np.concatenate([_labels(block) for block in self.blocks])
        )

    def _joined_beside(self) -> Mapping[str, np.ndarray]:
        found = dict[str, np.ndarray]()
        for name in self.blocks[0].beside:
            found[name] = np.concatenate([block.beside[name] for block in self.blocks])
        assert all(b.beside.keys() == found.keys() for b in self.blocks), "rows differ in kind"
        return found

    def _joined_born(self) -> np.ndarray:
        wide = max(self.blocks, key=lambda block: block.born.ndim).born.shape[
            1:
        ]  # [] or [replicates]
        each = [b.born if b.born.ndim > len(wide) else b.born[:, None] for b in self.blocks]
        return np.concatenate([np.broadcast_to(born, (len(born), *wide)) for born in each])


def concat(parts: Sequence[Samples]) -> Samples:
    """All samples of `parts`, in order; remembers whole parts as blocks.

    One part comes back as it is.
    """
    return parts[0] if len(parts) == 1 else Joined(tuple(parts))


def _labels(part: Samples) -> np.ndarray:
    assert part.y is not None, "a labelled set was mixed with an unlabelled one"
    return part.y


def given(real: Samples, n: int) -> np.ndarray | None:
    """What n conditional samples are drawn given, as in the real set.

    Class labels [n] with the real set's proportions (largest remainder, classes interleaved); for a
    regression the real covariates, repeated [n, replicates, d]; None for unlabelled data.
    """
    if real.y is None:
        return None
    if real.declared.kind == "regression":
        return real.x if n == len(real) else real.x[np.arange(n) % len(real)]
    return proportional_labels(real.y, n)


def proportional_labels(y: np.ndarray, n: int) -> np.ndarray:
    """n labels in the proportions of y [m]: largest remainder (ties to the smaller label), spread
    evenly over the order.
    """
    labels, counts = np.unique(y, return_counts=True)
    quota = proportional_counts(counts, n)
    place = np.concatenate([(np.arange(q) + 0.5) / q for q in quota if q])
    return np.repeat(labels, quota)[np.argsort(place, kind="stable")].astype(np.int64)


def proportional_counts(counts: np.ndarray, n: int) -> np.ndarray:
    """n split in the proportions of counts [k]: [k], largest remainder, ties to the first."""
    share = counts * (n / counts.sum())
    quota = np.floor(share).astype(int)
    quota[np.argsort(quota - share, kind="stable")[: n - quota.sum()]] += 1
    values: np.ndarray = quota
    return values
