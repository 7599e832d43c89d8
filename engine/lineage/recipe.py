"""Recipes, the rows they mean, and the keys of generations: all of it known before anything runs.

A key is the hash of what made a thing (equal keys are equal bits), so two lineages that train on
the same rows share the model, whatever their policies are called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from engine.identity import CANONICAL
from engine.lineage.arrival import Arrival
from engine.parts import Pick, Recipe
from engine.samples import Samples, concat
from engine.spec import LineageSpec, Part, digest, digest_of_text


def rng(seed: int, purpose: str, t: int = 0) -> np.random.Generator:
    """The random stream of one purpose at one generation: named by place, so no state is carried or
    saved.
    """
    word = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
    return np.random.default_rng(np.random.SeedSequence([seed, t, word]))


@dataclass(frozen=True)
class Node:
    """One generation of a lineage: what it is trained on and where its model and its draw live."""

    t: int
    recipe: Recipe
    real: str  # key of the real set that arrives at t
    model: str
    draw: str
    sources: dict[int, str]  # the keys behind the recipe's sources
    classes: tuple[int, ...] = ()  # with tasks: those of its training set, as they arrived

    @property
    def needs(self) -> set[int]:
        """The past synthetic sets this generation trains on."""
        return {s for pick in self.recipe for s in pick.sources if s >= 0}


@dataclass(frozen=True)
class _Sizes:
    """What the recipes of a lineage depend on: they are the same for every seed."""

    policy: Part = field(compare=False)
    text: str  # the policy's, by which it is known
    n_real: int
    drawn: tuple[int, ...]  # of every generation
    tasks: tuple[int, ...] = ()  # how many classes each of them brings

    @classmethod
    def of(cls, spec: LineageSpec, generations: int) -> _Sizes:
        drawn = tuple(spec.drawn(t) for t in range(generations + 1))
        tasks = tuple(map(len, spec.stream[: generations + 1]))
        return cls(spec.policy, spec.policy.text, spec.n_real, drawn, tasks)


def path(spec: LineageSpec, generations: int) -> tuple[Node, ...]:
    """Generations 0..generations of a lineage, by key.

    ValueError when a recipe cannot be filled.
    """
    first = real_key(spec, 0)
    nodes: list[Node] = []
    for t, recipe in enumerate(_recipes(_Sizes.of(spec, generations))):
        real = real_key(spec, t) if Arrival.of(spec, t).at else first
        nodes.append(_node(spec, t, recipe, real, nodes))
    return tuple(nodes)


@lru_cache(maxsize=256)
def _recipes(sizes: _Sizes) -> tuple[Recipe, ...]:
    """The recipes of all generations; ValueError when one cannot be filled."""
    policy = sizes.policy.make()
    found: list[Recipe] = []
    there = {-1: sizes.n_real}  # of every source that there is so far
    for t, drawn in enumerate(sizes.drawn):
        recipe = policy.recipe(there, t) if t else (Pick((-1,), sizes.n_real),)
        found.append(_checked(recipe, sizes, there, t))
        there[t] = drawn
        if sizes.tasks:
            there[of_task(t)] = sizes.n_real
    return tuple(found)


def of_task(t: int) -> int:
    """The source that is the real set of task t, and the inverse."""
    return -2 - t


def sources_of(spec: LineageSpec, generations: int) -> int:
    """About how many earlier sets the training sets of a lineage take from, all together: as if
    their number grew evenly up to the last one.
    """
    if not generations:
        return 0
    there = {-1: spec.n_real, **{t: spec.drawn(t) for t in range(generations)}}
    if spec.tasks is not None:
        there |= {of_task(t): spec.n_real for t in range(generations)}
    recipe = spec.policy.make().recipe(there, generations)
    return sum(len(pick.sources) for pick in recipe) * (generations + 1) // 2


def _checked(recipe: Recipe, sizes: _Sizes, there: Mapping[int, int], t: int) -> Recipe:
    """The recipe without empty picks; ValueError when a source has too few rows or nothing is left
    to train on.
    """
    counted = (_counted(pick, sizes, t) if pick.per_class else pick for pick in recipe)
    recipe = tuple(pick for pick in counted if pick.count)
    for pick in recipe:
        have = sum(there[s] for s in pick.sources)
        if pick.how == "without_replacement" and pick.count > have:
            raise ValueError(
                f"{sizes.policy.label} wants {pick.count} rows of {_named(pick.sources)} at "
                f"generation {t}, but {have} are there; "
                f"raise n_synthetic (now {sizes.drawn[0]}) or leave it out"
            )
    if not recipe:
        raise ValueError(f"{sizes.policy.label} leaves nothing to train on at generation {t}")
    return recipe


def _counted(pick: Pick, sizes: _Sizes, t: int) -> Pick:
    """A pick of so many rows of each class with their number; ValueError where there are fewer."""
    count, label = 0, sizes.policy.label
    for source in pick.sources:
        if source >= 0 or not sizes.tasks:
            raise ValueError(f"{label} picks per class of {_named((source,))}, which is no task's")
        task = t if source == -1 else of_task(source)
        have = sizes.n_real // sizes.tasks[task]
        if pick.per_class > have:
            raise ValueError(
                f"{label} wants {pick.per_class} rows of each class of task {task}, but of some "
                f"{have} are there (n_real {sizes.n_real}, {sizes.tasks[task]} classes)"
            )
        count += pick.per_class * sizes.tasks[task]
    return replace(pick, count=count)


def _named(sources: tuple[int, ...]) -> str:
    if sources == (-1,):
        return "the real set"
    if len(sources) == 1 and sources[0] < -1:
        return f"the real set of task {of_task(sources[0])}"
    return f"generation {sources[0]}" if len(sources) == 1 else "its sources"


def _node(spec: LineageSpec, t: int, recipe: Recipe, real: str, past: list[Node]) -> Node:
    sources = {s: _source(s, real, past) for pick in recipe for s in pick.sources}
    quoted = {s: f'"{key}"' for s, key in sources.items()}
    made_of = []
    for pick in recipe:
        keys = ",".join([quoted[s] for s in pick.sources])
        more = f",{pick.per_class}" if pick.per_class else ""
        made_of.append(f'["{pick.how}",{pick.count},[{keys}]{more}]')
    parent = past[-1].model if t and spec.generator.continues else None
    earlier = [node.model for node in past] if spec.tasks and spec.sampling.has("TASKS") else []
    model, draw = _keys(spec, t, ",".join(made_of), parent, real, earlier)
    return Node(t, recipe, real, model, draw, sources, _classes(spec, t, sources, past))


def _source(source: int, real: str, past: list[Node]) -> str:
    """The key of a source."""
    if source >= 0:
        return past[source].draw
    return real if source == -1 else past[of_task(source)].real


def _classes(
    spec: LineageSpec, t: int, sources: Iterable[int], past: list[Node]
) -> tuple[int, ...]:
    """The classes of a training set, as they arrived; () without tasks."""
    if not spec.stream:
        return ()
    found: set[int] = set()
    for source in sources:
        if source >= 0:
            found |= {*past[source].classes}
        else:
            found |= {*spec.task(t if source == -1 else of_task(source))}
    return tuple(label for label in spec.seen(t) if label in found)


def _keys(
    spec: LineageSpec, t: int, made_of: str, parent: str | None, real: str, earlier: list[str]
) -> tuple[str, str]:
    """Of model and draw: canonical JSON, as `digest` would write it, put together because large
    sweeps have so many of them.
    """
    warm = f'"{parent}"' if parent else "null"
    trained = f'"generator":{spec.generator.fitted},"parent":{warm},"recipe":[{made_of}]'
    by = f'{trained},"seed":{spec.seed},"t":{t}'
    model = digest_of_text(f"{{{by}}}")
    drawn = f'"model":"{model}","n":{spec.drawn(t)},"real":"{real}"'
    if earlier:
        drawn = f'"earlier":{CANONICAL.encode(earlier)},{drawn}'
    if drawing := spec.generator.drawing:
        drawn = f'"drawing":{CANONICAL.encode(drawing)},{drawn}'
    return model, digest_of_text(f'{{{drawn},"sampling":{spec.sampling.text}}}')


def real_key(spec: LineageSpec, t: int) -> str:
    """The key of the real set of generation t: of generation 0, unless new data arrive; of a
    stream of tasks that of task t.
    """
    what = {"dataset": spec.dataset.canonical, "n": spec.n_real, "seed": spec.seed}
    return digest({**what, **Arrival.of(spec, t).key})


def take(
    sources: Mapping[int, Samples],
    recipe: Recipe,
    seed: int,
    t: int,
    labels: Mapping[int, np.ndarray] = {},
) -> Samples:
    """The training set: the rows that the recipe of generation t means.

    labels: of the real sets of tasks that rows are picked of per class, where these hide theirs.

    Rows are chosen per replicate, except for class-labelled data, whose labels are shared by the
    replicates.  The stream is named by the sources, so equal picks are equal rows under every
    policy, and a smaller pick is part of a larger one.
    """
    blocks: list[Samples] = []
    for pick in recipe:
        if pick.per_class:
            blocks += _of_each_class(sources, pick, seed, t, labels)
        else:
            blocks += _blocks(sources, pick, seed, t)
    return concat(blocks)


def _blocks(sources: Mapping[int, Samples], pick: Pick, seed: int, t: int) -> list[Samples]:
    chosen = [sources[s] for s in pick.sources]
    if pick.how == "without_replacement" and pick.count == sum(len(s) for s in chosen):
        return chosen
    stream = rng(seed, "rows " + ",".join(map(str, pick.sources)), t)
    return [concat(chosen).take(_rows(pick, chosen, stream))]


def _of_each_class(
    sources: Mapping[int, Samples],
    pick: Pick,
    seed: int,
    t: int,
    labels: Mapping[int, np.ndarray],
) -> list[Samples]:
    """Rows of each class of tasks' real sets: the same in every generation, and fewer of them are
    part of more.
    """
    found = []
    for source in pick.sources:
        real = sources[source]
        y = labels.get(source, real.y)
        assert y is not None, "tasks are of labelled data"
        task = t if source == -1 else of_task(source)
        order = rng(seed, "rows of each class", task).permutation(len(real))
        kept = [order[y[order] == label][: pick.per_class] for label in np.unique(y)]
        found.append(real.take(np.sort(np.concatenate(kept))))
    return found


def _rows(pick: Pick, chosen: list[Samples], stream: np.random.Generator) -> np.ndarray:
    sizes = np.array([len(s) for s in chosen])
    replicates = chosen[0].independent_replicates
    shape = (pick.count,) if replicates is None else (pick.count, replicates)
    if pick.how == "uniform_source":
        source = stream.integers(len(chosen), size=shape)
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return first[source] + stream.integers(sizes[source])
    pool = np.arange(sizes.sum(), dtype=np.int64 if replicates is None else np.int32)
    if replicates is None:
        return stream.permutation(pool)[: pick.count]
    return stream.permuted(np.broadcast_to(pool[:, None], (len(pool), replicates)), axis=0)[
        : pick.count
    ]
