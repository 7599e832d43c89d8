"""What a search knows of one workflow (everything but fraction and seed), and which of its lineages
to run next.

All of it is read from the store, in order of lineage id, so a search that was killed goes on where
it was, and lineages that a grid put there count like its own.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict
from functools import cached_property
from typing import Any

from analysis.threshold import estimate as threshold
from analysis.threshold import proposals
from analysis.threshold.estimate import Estimate, Outcome
from engine.files import JsonObject
from engine.lineage.history import History, history
from engine.names import names_of
from engine.outcome.answer import Answer
from engine.outcome.summary import curve
from engine.settings import Threshold
from engine.spec import LineageSpec, Sweep
from engine.status import Status
from engine.store.store import Store

HOPELESS = 4  # lineages that fail one after the other before a search stops


class Workflow:
    """One line of the answer."""

    def __init__(self, template: LineageSpec, sweep: Sweep, label: str) -> None:
        assert sweep.collapse is not None
        self.template, self.label, self.rule = template, label, sweep.collapse
        self.design, self.level = design_of(sweep, template), sweep.collapse.level
        self.known: dict[str, Outcome] = {}  # of lineages that ended, by id
        self.specs: dict[str, LineageSpec] = {}  # of all that were started
        self.running: set[str] = set()
        self.waiting: deque[LineageSpec] = deque()  # started earlier, not ended
        self.failed: set[str] = set()
        self.in_a_row = 0  # failures since a lineage of this session ended well

    @property
    def taken(self) -> list[tuple[float, int]]:
        return [(_fraction(spec), spec.seed) for spec in self.specs.values()]

    def found(self, past: History) -> None:
        """A lineage that the store has: its outcome, or that it is to be finished."""
        self.specs[past.spec.id] = past.spec
        if past.status in (Status.UNFINISHED, Status.FAILED):
            self.waiting.append(past.spec)
        else:
            self._learn(past)

    def ended(self, past: History) -> None:
        """A lineage of this search is over."""
        self.running.discard(past.spec.id)
        if past.status in (Status.UNFINISHED, Status.FAILED):
            self.failed.add(past.spec.id)
            self.in_a_row += past.status is Status.FAILED
        else:
            self.in_a_row = 0
            self._learn(past)

    def _learn(self, past: History) -> None:
        found = self.rule.judge(curve(past.rows, self.rule))
        at = (_fraction(past.spec), past.spec.seed)
        self.learn(past.spec.id, Outcome(*at, found.y, found.undefined))

    def learn(self, lineage: str, outcome: Outcome) -> None:
        """Take in how a lineage ended."""
        self.running.discard(lineage)
        self.known[lineage] = outcome
        for name in ("posterior", "answer"):
            self.__dict__.pop(name, None)

    @cached_property
    def posterior(self) -> Any:
        outcomes = list(self.known.values())
        return threshold.draws_of(outcomes, self.level, self.design.ends, self.design.risk)

    @cached_property
    def answer(self) -> Estimate:
        axis, confidence = self.design.ends, self.design.confidence
        outcomes = list(self.known.values())
        return threshold.judged(
            outcomes, self.posterior, axis=axis, confidence=confidence, level=self.level
        )

    @property
    def hopeless(self) -> bool:
        """Whether one lineage after the other has failed: the next ones would, too."""
        return self.in_a_row >= HOPELESS

    @property
    def valueless(self) -> bool:
        """Whether enough lineages have ended, and none has a value: the next ones would not
        either.
        """
        ended = self.known.values()
        return len(ended) >= HOPELESS and all(math.isnan(each.y) for each in ended)

    @property
    def left(self) -> int:
        """How many lineages it may still run, with those that run now."""
        mine = len(self.running)
        return mine if self.enough else max(mine, self.design.budget - self.ended_ones)

    @property
    def ended_ones(self) -> int:
        """How many lineages have ended, well or not."""
        return len(self.known) + len(self.failed)

    @property
    def enough(self) -> bool:
        """Nothing more is started."""
        if self.hopeless or self.valueless:
            return True
        if self.waiting:
            return False
        spent = len(self.specs) >= self.design.budget
        return spent or proposals.finished(
            self.answer, len(self.running), len(self.known), self.design
        )

    def next(self) -> LineageSpec | None:
        """The next lineage, noted as running; None when there is enough, or no seed left."""
        if self.enough:
            return None
        spec = self.waiting.popleft() if self.waiting else self._new()
        if spec is not None:
            self.specs[spec.id] = spec
            self.running.add(spec.id)
        return spec

    def _new(self) -> LineageSpec | None:
        point = proposals.propose(self.posterior, self.taken, self.design)
        return None if point is None else self.template.at(*point)

    @property
    def why(self) -> str:
        """Why it ended, or where it stands."""
        if self.hopeless and not self.running:
            return f"given up after {self.in_a_row} failures in a row"
        if self.valueless and not self.running:
            return "given up: no lineage has a value"
        if self.running or self.waiting:
            return f"{len(self.running) + len(self.waiting)} running"
        if (
            not self.enough
            and proposals.propose(self.posterior, self.taken, self.design) is not None
        ):
            return "going on"
        if (settled := proposals.settled(self.answer, self.design)) != "":
            return f"width {self.answer.width:.3f}" if settled == "narrow" else settled
        return "budget spent" if len(self.specs) >= self.design.budget else "no seed left"

    def said(self) -> Answer:
        """The answer, and what it rests on."""
        a = self.answer
        rests = [f"{a.lineages} lineage" + "s" * (a.lineages != 1)]
        odd = {
            "in an absorbing state": a.absorbed,
            f"without a value{a.because}": a.undefined,
            "failed": len(self.failed),
        }
        rests += [f"{n} {words}" for words, n in odd.items() if n]
        rests += a.rests
        how = (f"{100 * a.confidence:g}%", ", ".join(rests), self.why)
        return Answer(self.label, a.words, how, a.verdict, a.likely)

    @property
    def ends(self) -> tuple[float | None, ...]:
        """The typical fraction and the ends of its interval, then the safe one and its ends."""
        a, safe = self.answer, self.answer.safe
        beside = (None, None, None) if safe is None else (safe.estimate, safe.low, safe.high)
        return (a.estimate, a.low, a.high, *beside)

    @property
    def numbers(self) -> dict[str, float]:
        """What a tracker records of them: those that there are."""
        names = [f"threshold/{name}/{self.label}" for name in ("typical", "safe")]
        keys = [f"{name}{end}" for name in names for end in ("", "/low", "/high")]
        return {k: v for k, v in zip(keys, self.ends, strict=True) if v is not None}

    def to_dict(self) -> JsonObject:
        a, spec = self.answer, self.template
        about = {
            "label": self.label,
            "workflow": spec.workflow,
            "generator": spec.generator.label,
            "policy": spec.policy.name,
        }
        said = {
            k: getattr(a, k)
            for k in (
                "verdict",
                "estimate",
                "low",
                "high",
                "confidence",
                "lineages",
                "seeds",
                "words",
            )
        }
        counts = {
            "absorbed": a.absorbed,
            "undefined": a.undefined,
            "undefined_because": a.why,
            "failed": len(self.failed),
            "ended": self.why,
        }
        outcomes = [
            {
                "lineage": i,
                "fraction": o.fraction,
                "seed": o.seed,
                "y": o.y if math.isfinite(o.y) else str(o.y),
                **({"undefined": o.why} if o.why else {}),
            }
            for i, o in sorted(self.known.items())
        ]
        if a.safe is not None:
            said["safe"] = asdict(a.safe)
        return {**about, **said, **counts, "level": self.level, "outcomes": outcomes}


def design_of(sweep: Sweep, spec: LineageSpec) -> Threshold:
    """How the search goes about one workflow: as the file says, or by the defaults."""
    return (sweep.threshold or Threshold()).design(spec.policy.name, spec.n_real)


def workflows(sweep: Sweep) -> dict[str, Workflow]:
    """One for every workflow of the sweep that has a synthetic fraction."""
    templates = {s.workflow: s for s in sweep.lineages if s.has_fraction}
    names = names_of(sweep)
    return {key: Workflow(spec, sweep, names.workflow(spec)) for key, spec in templates.items()}


def recorded(store: Store, keys: Iterable[str]) -> list[LineageSpec]:
    """All lineages of these workflows that the output has, in order of id."""
    wanted, found = set(keys), []
    for row in store.lineages():
        spec = row.known_spec()
        if spec is None or not spec.has_fraction or spec.synthetic_fraction is None:
            continue
        if spec.workflow in wanted:
            found.append(spec)
    return found


def grown(sweep: Sweep, store: Store) -> Sweep:
    """The sweep with every lineage of its workflows that the store has: what to read a search's
    curves by.
    """
    extra = recorded(store, [s.workflow for s in sweep.lineages if s.has_fraction])
    asked = (
        sweep.lineages
        if sweep.threshold is None
        else tuple(s for s in sweep.lineages if not s.has_fraction)
    )
    return sweep.with_lineages({s.id: s for s in [*asked, *extra]}.values())


def read(sweep: Sweep, store: Store) -> dict[str, Workflow]:
    """Everything that the store knows of the sweep's workflows."""
    found = workflows(sweep)
    for spec in recorded(store, found):
        own = found[spec.workflow]
        low, high = own.design.ends
        if low <= _fraction(spec) <= high:
            own.found(history(sweep, store, spec))
    return found


def _fraction(spec: LineageSpec) -> float:
    assert spec.synthetic_fraction is not None
    return float(spec.synthetic_fraction)
