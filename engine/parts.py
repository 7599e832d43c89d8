"""The parts a lineage is made of: their protocols, what they declare of themselves, and the words
they share.

A part is one file of its kind's folder; `engine/registry.py` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import BeforeValidator, Field

from engine.commands import FitLine as FitLine  # types of parameters, as those below
from engine.commands import SampleLine as SampleLine
from engine.samples import Samples, Tokenizer, Traits


def _number_from_text(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as text; here it is a number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


_FromText = BeforeValidator(_number_from_text)
Finite = Annotated[float, _FromText, Field(allow_inf_nan=False)]
Fraction = Annotated[float, _FromText, Field(ge=0, le=1, allow_inf_nan=False)]
PositiveFloat = Annotated[float, _FromText, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, _FromText, Field(ge=0, allow_inf_nan=False)]
OnDisk = Annotated[str, Field(min_length=1)]  # a file or folder; a key holds what is in it
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Extractor = Literal[
    "auto", "raw", "lenet", "real_resnet18", "resnet18", "inception", "fid_inception", "ngrams"
]  # see features.py
Params = dict[str, Any]  # a part's parameters by name
Needs = Mapping[str, Mapping[str, tuple[Any, ...]]]  # see NEEDS below
Keys = Mapping[str, tuple[str, str, str]]  # see KEYS below
Ways = Mapping[str, str]  # see BY below
Bands = dict[str, tuple[float, float]]  # see VARIANCE below
PartDict = dict[str, Any]  # a nested part, {name: ..., its parameters}


# ---- what a lineage can find ---------------------------------------------------------------------


class Finding(Exception):
    """Something the study is about rather than an error: it ends the lineage, with a status and a
    reason in its row.

    status  `diverged` (non-finite loss or weights), `constant` (all samples equal),
            `quota_unfilled` (a verifier rejected too much), or `extinct` (nothing left to draw).
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Undefined:
    """A metric that has no value here, and why.  Never a number."""

    reason: str


Number = float | np.ndarray | Undefined  # an array holds one value per replicate: [replicates]


@dataclass(frozen=True, eq=False)
class Value:
    """A metric's number and what it is to be read against; None: the metric has no such thing.

    value     the number.
    floor     what it is between disjoint real sets of the same size.
    floor_sd  the spread of the floor.
    n         how many samples were compared: one count for all numbers of a metric.
    """

    value: Number
    floor: Number | None = None
    floor_sd: Number | None = None
    n: float | None = None


Answer = Mapping[str, Value | Number]  # by key; a plain number has no floor


# ---- what parts declare --------------------------------------------------------------------------

# Class constants by which a part says what it is, and what holds where it says nothing.  A plan
# reads them from the source, so they are literals or constants of the package.
#
# of data sets    GIVES       the kind of their data: points, tokens, text, regression, images, ...
#                 CLASSES     labels are 0..CLASSES-1; 0: unlabelled; None: known once data are read
#                 REPLICATES  axis 1 of x holds so many independent replicates; None: no such axis
#                 FINITE      has only so many rows, which `contents` counts
#                 VOCABULARY  tokens of a text are 0..VOCABULARY-1; None: known once data are read
#                 LENGTH      tokens of a text; None: it is none
#                 RECORDS     rows are a prompt and its completion, of lengths beside them; of
#                             samplings, rewards, metrics: they take such, completions count alone
#                 SIZE        rows to train on and held out, of a finite set
# of generators   CONDITIONAL draws by class label (or covariates), and labels what it draws
#                 CONTINUES   a fit goes on from the generation before it
#                 TOKENIZER   the parameter of a folder whose tokenizer must have encoded a text
#                 STACKS      kinds of data on which lineages are trained together
#                 HALVES      (parameter, number): how often height and width of images are halved,
#                             by this parameter, or so often where it is None; they must divide
#                 COST        tiny (closed forms: milliseconds), small or large
#                 DRAWING     names of the parameters that change how a model is drawn from and not
#                             how it is fitted: they are in the draw's key, not in the model's
#                 VARIANCE    drawn over real variance after a usual fit, (lowest, highest) by kind
#                             of data; of kinds that are left out it is 0.9 to 1.1
#                 COARSE      (parameter of the method, parameter of its steps, {method: {steps:
#                             the same ratio with an exact network}}); from the most steps on a
#                             method is not coarse
#                 NEEDS       of the data, as of all others below
# of both         KNOWS       what they tell beyond samples: words of knowledge.py
# of all others   ACCEPTS     kinds of data (None: every kind); or each kind with the parameters
#                             under which it is accepted: {"points": {"rule": ("top",)}}
#                 NEEDS       data.labels, data.texts (no records), draws.labels, draws.prompts,
#                             data.WORD or model.WORD (of knowledge.py; "a|b": either), each with
#                             the parameters, or the kind of data (GIVES), under which it is needed
# of policies,    TASKS       makes sense for streams of tasks alone; the keys of draws by such a
# of samplings                sampling name the models of earlier tasks
# of samplings    PROMPTS     so many tokens of a real text are given to what it draws
#                 DIRECTIONS  (parameter, switch): in so many directions it keeps moments of the
#                             real rows of each class, or of all where the switch is off
#                 LABELS      it labels what it draws; or the parameter of the sampling that may
#                 SPANS       of rewards and metrics: texts must be at least so many tokens long
# of metrics      KEYS        every key of its answers: (what it is, its unit, which is better:
#                             lower, higher, near 0, near 1, or "" of a control).  N at the end of
#                             a key is a whole number
#                 PER_TASK    keys that streams of tasks have of each task alone, too: KEY/task_N
#                 HEADLINE    the key that stands for the metric, by the kind of data; of other
#                             kinds its own name or, where that is no key, the first of KEYS
#                 BY          how a collapse rule compares a key with its reference, where one way
#                             alone has a meaning: "difference" where zero is no origin (nats,
#                             bits), "ratio" where the unit is the data's; keys left out: both
#                 READS       words of knowledge.py: of a generator that tells one of them it reads
#                             that, so that its values do not depend on how many samples there are
#                 BOUNDS      what bounds how many samples are compared, beside those drawn:
#                             "held out" rows, or parameters by name; None: nothing depends on n
#                 COVARIANCE  of features is compared, of the whole "set" or of each "class": with
#                             fewer samples than features most of it is their small number
# of all          TINY        the smallest parameters that work
#                 REVISION    raised when equal parameters give other bits; in the key from 2 on
DEFAULT_TRAITS: dict[str, Any] = {
    "TINY": {},
    "REVISION": 1,
    "GIVES": None,
    "CLASSES": 0,
    "REPLICATES": None,
    "VOCABULARY": None,
    "LENGTH": None,
    "RECORDS": False,
    "FINITE": False,
    "SIZE": None,
    "CONDITIONAL": False,
    "CONTINUES": False,
    "TOKENIZER": None,
    "STACKS": (),
    "DRAWING": (),
    "VARIANCE": {},
    "COARSE": None,
    "HALVES": None,
    "COST": "small",
    "KNOWS": (),
    "ACCEPTS": None,
    "NEEDS": {},
    "PROMPTS": 0,
    "SPANS": 0,
    "TASKS": False,
    "DIRECTIONS": None,
    "LABELS": False,
    "KEYS": {},
    "PER_TASK": (),
    "HEADLINE": {},
    "BY": {},
    "READS": (),
    "BOUNDS": (),
    "COVARIANCE": None,
}
HELD_OUT = "held out"  # in BOUNDS
DECIDED = {"CLASSES", "REPLICATES", "VOCABULARY", "LENGTH", "RECORDS", "PROMPTS"}
DECIDED |= {"CONDITIONAL", "CONTINUES", "SPANS"}


def declared(part: object, trait: str) -> Any:
    """A trait of a constructed part; its default when the part says nothing of it.

    Text in one of DECIDED is the name of the parameter that decides, which the constructor keeps
    under its own name.
    """
    value = getattr(part, trait, DEFAULT_TRAITS[trait])
    if trait in DECIDED and isinstance(value, str):
        return getattr(part, value)
    return value


def traits_of(dataset: object) -> Traits:
    """What a data set's samples are, as it declares; `tokenizer_` is that of its text."""
    names = ("GIVES", "CLASSES", "REPLICATES", "SIZE", "VOCABULARY")
    own: Tokenizer | None = getattr(dataset, "tokenizer_", None)
    return replace(Traits(*(declared(dataset, name) for name in names)), tokenizer=own)


# ---- the protocols -------------------------------------------------------------------------------


class Dataset(Protocol):
    """The truth.  May declare CLASSES, REPLICATES, SIZE, VOCABULARY, KNOWS.

    Images are uint8 [n, height, width, channels]; points float [n, replicates, d].
    """

    TINY: ClassVar[Params]
    GIVES: ClassVar[str]  # points, tokens, text, regression or images

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        """n real training samples; ValueError when a finite set has fewer."""
        ...

    def held_out(self, n: int) -> Samples:
        """The same n real samples every time, never among those of `sample`; fewer when a finite
        set has fewer.
        """
        ...


class Generator(Protocol):
    """A model of the data.  The constructor stores, `fit` works, learnt values end in a "_".

    One that CONTINUES goes on from its present learnt values when fitted again.  May declare
    CONDITIONAL, CONTINUES, STACKS, COST, KNOWS.
    """

    TINY: ClassVar[Params]
    ACCEPTS: ClassVar[tuple[str, ...]]  # the `GIVES` of data sets it can be fitted to

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        """Learn from data; returns what training reports (losses, steps).

        Raises Finding when it diverges.
        """
        ...

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """n samples.  labels: what to condition on, see `samples.given`.  bias: the family's
        quality-diversity knob, 1 or None = honest sampling.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the learnt values (safetensors, npz without objects, JSON) into an empty folder."""
        ...

    def load(self, folder: Path) -> None:
        """The inverse of `save`: afterwards `sample` gives the same bits."""
        ...


@dataclass(frozen=True)
class Pick:
    """`count` rows out of the concatenation of some sources; source -1 is the real set, i the
    synthetic set of generation i, -2 - j the real set of task j.

    how  `without_replacement`: uniform over all rows of those sources, none twice (all of them, in
         order, when count is their size); `uniform_source`: each row picks one of the sources
         uniformly, then one of its rows uniformly.
    per_class  of real sets of tasks: so many rows of each class, the same in every generation; a
               plan puts their number in place of count.
    """

    sources: tuple[int, ...]
    count: int
    how: Literal["without_replacement", "uniform_source"] = "without_replacement"
    per_class: int = 0


Recipe = tuple[Pick, ...]


class Policy(Protocol):
    """What generation t trains on: pure arithmetic on set sizes, it never sees the data."""

    TINY: ClassVar[Params]

    def recipe(self, sizes: Mapping[int, int], t: int) -> Recipe:
        """The picks of generation t >= 1 from sources of these sizes: -1 the real set that arrives
        at t, i < t the draw of generation i; with tasks also -2 - i the real set of task i.

        ValueError when the sizes cannot give what the policy promises.
        """
        ...

    def needs(self, n_real: int) -> int:
        """Synthetic samples that must be drawn from each generation so that every later recipe can
        be filled.
        """
        ...


def rounded(share: float, n: int) -> int:
    """The whole number nearest to share * n, halves upwards: every policy's count of a share."""
    return int(np.floor(share * n + 0.5))


@dataclass(frozen=True)
class Draw:
    """A synthetic set and what drawing it reported (acceptance rate, verifier accuracy, ...)."""

    samples: Samples
    report: dict[str, float]


@dataclass(frozen=True)
class Around:
    """What stands around a draw of generation t: values at hand, and what is only made when asked
    for.  No key needs to know what is asked: the model's key implies all of it.

    real       the real set of generation t.
    labels     [n] class labels to draw n samples given (the real set's shares; with tasks, of the
               classes of the training set equally many), the covariates [n, replicates, d] of a
               regression, or None: unlabelled data, or a generator without labels.
    training   the training set of generation t.
    real_of    the real set of generation j <= t.
    generator  the frozen model of generation j <= t, read from the store or made again.
    task_of    the task at which each class so far arrived; None without tasks.
    """

    real: Samples
    labels: np.ndarray | None
    training: Callable[[], Samples]
    real_of: Callable[[int], Samples]
    generator: Callable[[int], Generator]
    task_of: Mapping[int, int] | None = None


class Sampling(Protocol):
    """How the synthetic set is drawn from the model."""

    TINY: ClassVar[Params]

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        """Once per opened lineage, before its first draw; founder is the model of generation 0."""
        ...

    def draw(self, generator: Generator, n: int, around: Around, rng: np.random.Generator) -> Draw:
        """Exactly n synthetic samples; Finding('quota_unfilled') when they cannot be had."""
        ...


class Reward(Protocol):
    """Scores samples; higher is better."""

    TINY: ClassVar[Params]

    def fit(
        self, dataset: Dataset, real: Samples, generator: Generator, rng: np.random.Generator
    ) -> dict[str, float]:
        """Learn what it needs (a classifier, a discriminator); returns what that reports."""
        ...

    def score(self, samples: Samples) -> np.ndarray:
        """[n], or [n, replicates] for points."""
        ...


class Metric(Protocol):
    """Built once per lineage with its reference.  Keys begin with the metric's name, parts after a
    slash: `nelbo/kl`.  What "auto" came to mean (the extractor, the network) may stand in `about_`,
    texts by name: it is kept beside the values.
    """

    TINY: ClassVar[Params]
    ACCEPTS: ClassVar[tuple[str, ...]]

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Build the reference and the real-vs-real floor for comparisons of n synthetic samples."""
        ...

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> Answer:
        """By key a Value, or a Number where there is no floor; Undefined with a reason."""
        ...
