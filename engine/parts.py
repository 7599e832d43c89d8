"""The parts a lineage is made of, and how they are found.

The file name is the registry: `{name: kde, bandwidth: 0.3}` is class `Kde` in
`engine/generators/kde.py`.  The constructor's signature is the schema: `describe` reads it from the
                             source without importing the file, so that a plan needs none of torch.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, get_args

import numpy as np
from pydantic import BeforeValidator, Field

from engine.samples import Samples

KINDS = {
    "dataset": "datasets",
    "generator": "generators",
    "policy": "policies",
    "sampling": "samplings",
    "reward": "rewards",
    "metric": "metrics",
}


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
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Extractor = Literal[
    "auto", "raw", "lenet", "real_resnet18", "resnet18", "inception", "fid_inception"
]  # see features.py
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


Value = float | np.ndarray | Undefined  # an array holds one value per replicate: [replicates]


# ---- the protocols -------------------------------------------------------------------------------


class Dataset(Protocol):
    """The truth.

    Images are uint8 [n, height, width, channels]; points float [n, replicates, d].
    """

    TINY: ClassVar[dict[str, Any]]
    GIVES: ClassVar[str]  # points, tokens, regression or images
    CLASSES: ClassVar[int]  # 0: unlabelled

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        """n real training samples; ValueError when a finite set has fewer."""
        ...

    def held_out(self, n: int) -> Samples:
        """The same n real samples every time, never among those of `sample`; fewer when a finite
        set has fewer.
        """
        ...


class Generator(Protocol):
    """A model of the data.  The constructor stores, `fit` works, learnt values end in an
                             underscore.

    A generator that takes `warm_start=True` continues from its present learnt values when fitted
    again.
    """

    TINY: ClassVar[dict[str, Any]]
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
                       quality-diversity knob, 1 or
        None = honest sampling.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the learnt values (safetensors, npz without objects, JSON) into an existing empty
        folder.
        """
        ...

    def load(self, folder: Path) -> None:
        """The inverse of `save`: afterwards `sample` gives the same bits."""
        ...


@dataclass(frozen=True)
class Pick:
    """`count` rows out of the concatenation of some sources; source -1 is the real set, i the
    synthetic set of generation i.

    how  `without_replacement`: uniform over all rows of those sources, none twice (all of them, in
         order, when count is their size); `uniform_source`: each row picks one of the sources
         uniformly, then one of its rows uniformly.
    """

    sources: tuple[int, ...]
    count: int
    how: Literal["without_replacement", "uniform_source"] = "without_replacement"


Recipe = tuple[Pick, ...]


class Policy(Protocol):
    """What generation t trains on: pure arithmetic on set sizes, it never sees the data."""

    TINY: ClassVar[dict[str, Any]]

    def recipe(self, n_real: int, n_synthetic: int, t: int) -> Recipe:
        """The picks of generation t >= 1.

        ValueError when the sizes cannot give what the policy promises.
        """
        ...

    def needs(self, n_real: int) -> int:
        """Synthetic samples that must be drawn from each generation so that every later recipe can
        be filled.
        """
        ...


def rounded(share: float, n: int) -> int:
    """The whole number nearest to share * n, halves upwards: how every policy turns a fraction into
    a count.
    """
    return int(np.floor(share * n + 0.5))


@dataclass(frozen=True)
class Draw:
    """A synthetic set and what drawing it reported (acceptance rate, verifier accuracy, ...)."""

    samples: Samples
    report: dict[str, float]


class Sampling(Protocol):
    """How the synthetic set is drawn from the model."""

    TINY: ClassVar[dict[str, Any]]

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        """Once per opened lineage, before its first draw; founder is the model of generation 0."""
        ...

    def draw(self, generator: Generator, n: int, real: Samples, rng: np.random.Generator) -> Draw:
        """Exactly n synthetic samples; Finding('quota_unfilled') when they cannot be had."""
        ...


class Reward(Protocol):
    """Scores samples; higher is better."""

    TINY: ClassVar[dict[str, Any]]

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
    slash: `fid/floor`.

    What "auto" came to mean (the extractor, the network) may stand in `about_`, texts by name: it
    is kept beside the values.
    """

    TINY: ClassVar[dict[str, Any]]
    ACCEPTS: ClassVar[tuple[str, ...]]

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Build the reference and the real-vs-real floor for comparisons of n synthetic samples."""
        ...

    def __call__(
        self, synthetic: Samples, generator: Generator, rng: np.random.Generator
    ) -> dict[str, Value]:
        """Values, [replicates] arrays, or Undefined with a reason."""
        ...


# ---- finding them --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    name: str
    annotation: str
    default: Any
    required: bool


@dataclass(frozen=True)
class Description:
    """A part's signature and literal class constants, read from its source."""

    kind: str
    name: str
    summary: str
    parameters: dict[str, Parameter]
    constants: dict[str, Any]


@cache
def names(kind: str) -> list[str]:
    """All parts of a kind: the files of its folder."""
    folder = Path(__file__).parent / KINDS[kind]
    return sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))


def class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def unknown(kind: str, name: str) -> str:
    """The message for a name that is not there."""
    near = difflib.get_close_matches(name, names(kind), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no {kind} is called {name!r}{hint} (there are: {', '.join(names(kind))})"


@cache
def describe(kind: str, name: str) -> Description:
    """The part's description, without importing it.

    KeyError with the list of names when there is no such part.
    """
    if name not in names(kind):
        raise KeyError(unknown(kind, name))
    tree = ast.parse((Path(__file__).parent / KINDS[kind] / f"{name}.py").read_text())
    cls = next(
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == class_name(name)
    )
    init = next(
        (n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None
    )
    summary = (
        (ast.get_docstring(tree) or ast.get_docstring(cls) or "")
        .split("\n\n")[0]
        .replace("\n", " ")
    )
    return Description(kind, name, summary, _parameters(init) if init else {}, _constants(cls))


def _parameters(init: ast.FunctionDef) -> dict[str, Parameter]:
    found = {}
    for arg, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        annotation = ast.unparse(arg.annotation) if arg.annotation else "Any"
        annotation = (
            f"Literal{list(get_args(Extractor))}" if annotation == "Extractor" else annotation
        )  # as a reader wants it
        value = None if default is None else ast.literal_eval(default)
        found[arg.arg] = Parameter(arg.arg, annotation, value, default is None)
    return found


def _constants(cls: ast.ClassDef) -> dict[str, Any]:
    found = {}
    for node in cls.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and target.id.isupper():
            found[target.id] = ast.literal_eval(node.value)
    return found


def make(kind: str, name: str, **params: Any) -> Any:
    """The part, constructed.

    KeyError for an unknown name, ValueError or TypeError for bad parameters.
    """
    if name not in names(kind):
        raise KeyError(unknown(kind, name))
    module = importlib.import_module(f"engine.{KINDS[kind]}.{name}")
    return getattr(module, class_name(name))(**params)
