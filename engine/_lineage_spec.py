"""What a lineage is: everything that changes its samples, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from engine import _tasks
from engine._foreign import one_line
from engine.files import JsonObject
from engine.identity import Part, digest, short
from engine.refusals import labels, lacking
from engine.registry import describe

PARTS = ("dataset", "generator", "policy", "sampling")  # of a lineage


@dataclass(frozen=True, repr=False)
class LineageSpec:
    """One chain: one truth, one generator, one policy, one sampling, one seed."""

    dataset: Part
    generator: Part
    policy: Part
    sampling: Part
    n_real: int
    seed: int
    n_synthetic: int | None = None  # None: n_real, or what the policy needs if that is more
    # fixed: the same real set stays; fresh: a new draw each generation; parts: the next rows;
    # tasks: rows of the next classes
    arrival: str = "fixed"
    tasks: _tasks.Tasks | None = None

    def __repr__(self) -> str:
        more = "" if self.n_synthetic is None else f", n_synthetic {self.n_synthetic}"
        more += "" if self.arrival == "fixed" else f", arrival {self.arrival}"
        more += "" if self.tasks is None else f", tasks {_tasks.as_lists(self.tasks)}"
        parts = ", ".join(_given(part) for _, part in self.parts())
        said = f"<LineageSpec {parts}, n_real {self.n_real}{more}, seed {self.seed}>"
        return one_line(said)

    @cached_property
    def id(self) -> str:
        return digest({"lineage": self.identity}, 16)

    @property
    def identity(self) -> JsonObject:
        """What its id is a digest of."""
        return {
            **{kind: getattr(self, kind).canonical for kind in PARTS},
            "n_real": self.n_real,
            "n_drawn": self.n_drawn,
            "arrival": self.arrival,
            "seed": self.seed,
            **self._tasks_told,
        }

    @property
    def _tasks_told(self) -> JsonObject:
        """Its tasks as JSON; nothing where there are none."""
        return {} if self.tasks is None else {"tasks": _tasks.as_lists(self.tasks)}

    @cached_property
    def n_drawn(self) -> int:
        """Synthetic samples drawn from each generation; of a stream of tasks so many per task."""
        if self.n_synthetic is not None:
            return self.n_synthetic
        return max(self.n_real, int(self.policy.made.needs(self.n_real)))

    def drawn(self, t: int) -> int:
        """Synthetic samples drawn from generation t: of every generation equally many, or so many
        for each task that has arrived.
        """
        return self.n_drawn if self.tasks is None else (t + 1) * self.n_drawn

    def drawn_of(self, task: int) -> int:
        """Samples of a task in each draw from its generation on, as far as all classes so far are
        drawn equally often: the fewest, so that one number is the same at every generation.
        """
        each = (self.drawn(t) // len(self.seen(t)) for t in range(task, len(self.stream)))
        return min(each) * len(self.task(task))

    def parts_until(self, generations: int) -> int:
        """How many sets of n_real different rows generations 0..generations take."""
        return generations + 1 if self.arrival in ("parts", "tasks") else 1

    @property
    def classes(self) -> int | None:
        """How many its data have; None where neither the data nor an output tell."""
        known, then = self.dataset.traits.classes, self.dataset.known_contents
        return len(then.classes) if known is None and then is not None else known

    @cached_property
    def labelled(self) -> bool:
        """Whether its draws have class labels, where its data have: the generator's, or those that
        its sampling gives them.
        """
        return self.generator.conditional or labels(self.sampling.name, self.sampling.params)

    @cached_property
    def stream(self) -> _tasks.Stream:
        """The classes of every task; () without tasks, or where only absent data could tell."""
        if self.tasks is None:
            return ()
        return _tasks.split(self.tasks, self.classes or 0)

    def task(self, t: int) -> tuple[int, ...]:
        """The classes that arrive at generation t; () without tasks."""
        return self.stream[t] if t < len(self.stream) else ()

    def seen(self, t: int) -> tuple[int, ...]:
        """The classes of tasks 0..t, in that order; () without tasks."""
        return tuple(label for task in self.stream[: t + 1] for label in task)

    @cached_property
    def cell_id(self) -> str:
        return digest({k: v for k, v in self.identity.items() if k != "seed"}, 16)

    @property
    def synthetic_fraction(self) -> float | None:
        """The policy's synthetic_fraction, given or by default; None for policies without one."""
        known = describe("policy", self.policy.name).parameters.get("synthetic_fraction")
        if known is None:
            return None
        share = self.policy.params.get("synthetic_fraction", known.default)
        return None if share is None else float(share)  # YAML reads 1e-3 as text

    @property
    def has_fraction(self) -> bool:
        """Whether its policy has a synthetic_fraction."""
        return "synthetic_fraction" in describe("policy", self.policy.name).parameters

    def at(self, fraction: float, seed: int) -> LineageSpec:
        """The same workflow at another synthetic fraction, of another seed."""
        params = {**self.policy.params, "synthetic_fraction": fraction}
        return replace(self, policy=replace(self.policy, params=params), seed=seed)

    def quarter(self) -> LineageSpec:
        """The same chain with a quarter of the real and of the synthetic samples: its control."""
        drawn = None if self.n_synthetic is None else max(1, self.n_synthetic // 4)
        return replace(self, n_real=max(1, self.n_real // 4), n_synthetic=drawn)

    @cached_property
    def workflow(self) -> str:
        """What lineages along the synthetic fraction have in common: everything but the fraction
        and the seed.
        """
        policy = {k: v for k, v in self.policy.canonical.items() if k != "synthetic_fraction"}
        rest = {k: v for k, v in self.identity.items() if k not in ("policy", "n_drawn", "seed")}
        return digest({**rest, "policy": policy, "n_synthetic": self.n_synthetic}, 16)

    def to_dict(self) -> JsonObject:
        """Plain values, as in JSON; `files` holds the digests of what its parts read."""
        parts: JsonObject = {kind: {"name": p.name, **p.params} for kind, p in self.parts()}
        if files := {kind: dict(p.found) for kind, p in self.parts() if p.reads}:
            parts["files"] = files
        sizes = {
            "n_real": self.n_real,
            "n_synthetic": self.n_synthetic,
            "arrival": self.arrival,
            "seed": self.seed,
        }
        return {**parts, **sizes, **self._tasks_told}

    def lacking(self, metric: Part) -> str:
        """Why a metric has no value of its draws, or ''."""
        of = (self.dataset, self.generator, self.sampling)
        return lacking(metric, *of, tasks=self.tasks is not None)

    def parts(self) -> Iterable[tuple[str, Part]]:
        return ((kind, getattr(self, kind)) for kind in PARTS)

    def check_files(self) -> None:
        """identity.Changed where files are no longer those that the run was planned with."""
        for _, part in self.parts():
            part.check_files()

    @classmethod
    def from_dict(
        cls, values: JsonObject, *, former: bool = False, known: JsonObject | None = None
    ) -> LineageSpec:
        """The inverse of `to_dict`.

        former: with the keys it had in an output without a schema number; known: its `identity` in
        an output, whatever the code is today.
        """
        plain = {k: v for k, v in values.items() if k != "files"}
        plain["tasks"] = _tasks.as_tuples(values.get("tasks"))
        for kind in PARTS:
            params = dict(plain[kind])
            files = values.get("files", {}).get(kind)
            own = (known or {}).get(kind)
            plain[kind] = Part(kind, params.pop("name"), params, files, former, own)
        return cls(**plain)


def _given(part: Part) -> str:
    """A part with the parameters that it was given, whether it is known here or not."""
    params = ", ".join(f"{name}={short(value)}" for name, value in part.params.items())
    return f"{part.name}({params})" if params else part.name
