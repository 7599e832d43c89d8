"""What a lineage works with: real sets, models and draws, in memory, from the store, or made again
bit for bit.

Whatever was pruned or damaged is made again from the nearest ancestor that was kept, and must have
the bits its row names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from engine.lineage.arrival import Arrival
from engine.lineage.recipe import Node, of_task, rng, take
from engine.lineage.seen import Seen
from engine.parts import Around, Dataset, Draw, Finding, Generator, Sampling, traits_of
from engine.samples import MAPPED_BYTES, Samples, Traits, concat, given, proportional_labels
from engine.seams.seam import expecting
from engine.spec import LineageSpec
from engine.store import artifacts as archive
from engine.store.rows import Row
from engine.store.store import Store
from engine.training import resume

STRIP_POINTS = 500


class TooLarge(RuntimeError):
    """A generation that does not fit into the device's memory,
    not even half a minibatch at a time.
    """


class NotReproduced(RuntimeError):
    """A pruned or damaged generation came out differently when it was made again."""


class GenerationCache:
    """The samples and generators of one lineage, by generation.

    fits  how many models this object has trained.
    half_trained  keys of models whose training left its state in the store.
    speed  what the last training measured: examples per second, peak memory.
    writes  whether what is made again is put back into the store; who only looks leaves it.
    """

    def __init__(
        self, spec: LineageSpec, store: Store, path: Sequence[Node], writes: bool = True
    ) -> None:
        self.spec, self.store, self.path, self.writes = spec, store, path, writes
        self.fits = 0
        self.half_trained: set[str] = set()
        self.speed: dict[str, float] = {}
        self._last_use = {s: node.t for node in path for s in node.needs}
        self._draws: dict[int, Samples] = {}
        self._reals: dict[int, Samples] = {}
        self._arrived: dict[int, Samples] = {}  # at most the newest
        self._generators: dict[int, Generator] = {}  # at most the newest
        self._dataset: Dataset | None = None
        self._sampling: Sampling | None = None

    def rng(self, purpose: str, t: int) -> np.random.Generator:
        return rng(self.spec.seed, purpose, t)

    # ---- what there is ----

    @property
    def dataset(self) -> Dataset:
        if self._dataset is None:
            self.spec.check_files()
            self._dataset = self.spec.dataset.make()
        return self._dataset

    @property
    def traits(self) -> Traits:
        """What real and synthetic samples are, as the data set declares."""
        return replace(traits_of(self.dataset), growing=bool(self.spec.stream))

    def real(self, t: int) -> Samples:
        """The real set of generation t: of generation 0, unless new data arrive; with tasks that of
        task t.
        """
        arrival = Arrival.of(self.spec, t)
        if arrival.at not in self._reals:
            if not arrival.classes:  # those of tasks are asked for again
                self._reals = {k: v for k, v in self._reals.items() if k == 0}
            rows = arrival.rows(self.dataset, self.spec.n_real, lambda s: self.rng("real", s))
            self._reals[arrival.at] = rows.of(self.traits)
        return self._reals[arrival.at]

    def arrived(self, t: int) -> Samples:
        """What a metric compares with at generation t: the first real set, or those of all tasks
        so far.
        """
        if not self.spec.stream:
            return self.real(0)
        if t not in self._arrived:
            self._arrived = {t: concat([self.real(j) for j in range(t + 1)])}
        return self._arrived[t]

    def truth(self, t: int) -> Dataset:
        """The data set, or what a stream of tasks has brought of it up to generation t."""
        if not self.spec.stream:
            return self.dataset
        return cast(Dataset, Seen(self.dataset, self.spec.seen(t)))

    def samples(self, t: int) -> Samples:
        """The draw of generation t."""
        if t not in self._draws:
            self._draws[t] = self._stored_draw(t) or self.redraw(t)
        return self._draws[t]

    def has_samples(self, t: int) -> bool:
        return t in self._draws

    def generator(self, t: int) -> Generator:
        """The model of generation t."""
        if t not in self._generators:
            row = self.store.row("model", self.path[t].model)
            generator = (
                archive.read_generator(self.store, row, self.spec.generator) if row else None
            )
            if generator is None:
                self.refit(t)
            else:
                self._generators = {t: generator}
        return self._generators[t]

    def has_generator(self, t: int) -> bool:
        return t in self._generators

    def strip(self, t: int) -> Samples:
        """A few samples for the film strip: one image per class from the same latents each
        generation, or some points.
        """
        real = self.real(0)
        if real.replicates is not None:
            first = self.samples(t).take(slice(0, STRIP_POINTS))
            return Samples(first.x[:, :1], beside=first.beside).drawn_at(t)
        labels = None if real.y is None else np.unique(real.y)
        if self.path[t].classes:
            labels = np.array(self.path[t].classes)  # in this order old ones keep their latents
        n = 10 if labels is None else len(labels)
        try:
            return self.generator(t).sample(n, self.rng("strip", 0), labels).drawn_at(t)
        except Finding:  # a class that other models drew, and that this one's training set lost
            found = self.training_set(self.path[t]).y
            if labels is None or found is None:
                raise
            labels = labels[np.isin(labels, found)]
            return self.generator(t).sample(len(labels), self.rng("strip", 0), labels).drawn_at(t)

    # ---- the loop's two steps ----

    def training_set(self, node: Node) -> Samples:
        for s in sorted(self._missing(node)):
            self._draws[s] = self._stored_draw(s) or self.redraw(s)
        labels, sources = dict[int, np.ndarray](), dict[int, Samples]()
        for s in node.sources:
            if s >= 0:
                sources[s] = self._draws[s]
                continue
            arrived = node.t if s == -1 else of_task(s)
            sources[s] = self._real_to_train_on(arrived)
            if (y := self.real(arrived).y) is not None:
                labels[s] = y
        return take(sources, node.recipe, self.spec.seed, node.t, labels)

    def _real_to_train_on(self, t: int) -> Samples:
        """The real set; without its class labels where nothing would label the draws."""
        real = self.real(t)
        if self.spec.labelled or real.y is None:
            return real
        without = Samples(real.x, None, real.born, traits=real.traits, beside=real.beside)
        remembered: Samples = real.memo.setdefault("unlabelled", without)
        return remembered

    def fit(self, node: Node, data: Samples) -> dict[str, float]:
        """Train the model of a generation.  Finding when it diverges; TooLarge when memory does not
        suffice.

        Where memory runs out the generation is trained again with every minibatch in two halves,
        whose gradients add up to the same step.
        """
        try:
            return self._fit(node, data, micro_batches=1)
        except Exception as error:
            if not _out_of_memory(error):
                raise
            first = (str(error).splitlines() or ["no memory left"])[0]
        self._generators.clear()
        try:
            return self._fit(node, data, micro_batches=2)
        except Exception as error:
            if not _out_of_memory(error):
                raise
        raise TooLarge(
            f"generation {node.t} of {self.spec.generator.name} does not fit into the device's "
            "memory, nor does it with half a "
            f"minibatch at a time ({first}); lower the generator's batch or size, or give the "
            "lineage more of the device "
            "(resources.gpu, or a machine with more memory)"
        )

    def _fit(self, node: Node, data: Samples, micro_batches: int) -> dict[str, float]:
        generator: Generator = self.spec.generator.make()
        if node.t and self.spec.generator.continues:
            generator = self.generator(node.t - 1)
        self._generators.clear()
        with resume.keeping(self._place(node.model, micro_batches)) as place:
            report = generator.fit(data, self.rng("fit", node.t))
        self.speed = place.speed
        self._generators[node.t] = generator
        self.fits += 1
        return report

    def _place(self, key: str, micro_batches: int) -> resume.Place:
        """Where this model's training keeps its state; closed forms need none."""
        if self.spec.generator.constant("COST") == "tiny" or not self.writes:
            return resume.Place()
        self.half_trained.add(key)
        machine = json.dumps(archive.machine(), sort_keys=True)
        return resume.Place(self.store, key, machine, resume.EVERY_SECONDS, micro_batches)

    def draw(self, node: Node) -> Draw:
        """Draw a generation's synthetic set.  Finding when a quota cannot be filled."""
        generator = self.generator(node.t)
        expecting(generator, self._real_to_train_on(node.t))
        n, around = self.spec.drawn(node.t), self.around(node)
        draw = self._prepared(node.t).draw(generator, n, around, self.rng("draw", node.t))
        return Draw(draw.samples.of(self.traits).drawn_at(node.t), draw.report)

    def around(self, node: Node) -> Around:
        """What a sampling or a metric may ask for at this generation."""
        tasks = enumerate(self.spec.stream[: node.t + 1])
        task_of = {label: j for j, classes in tasks for label in classes}
        return Around(
            real=self.real(node.t),
            labels=self._labels(node),
            training=lambda: self.training_set(node),
            real_of=self.real,
            generator=self._frozen,
            task_of=task_of or None,
        )

    def _labels(self, node: Node) -> np.ndarray | None:
        """What a generation is drawn given: of tasks the classes that it was trained on."""
        real, n = self._real_to_train_on(node.t), self.spec.drawn(node.t)
        if not self.spec.generator.conditional:
            return None
        if real.y is None or not node.classes:
            return given(real, n)
        return proportional_labels(np.array(node.classes), n)

    def _frozen(self, t: int) -> Generator:
        """The model of an earlier generation; the one at hand is not forgotten for it."""
        if t in self._generators:
            return self._generators[t]
        newest, self._generators = self._generators, {}
        try:
            return self.generator(t)
        finally:
            self._generators = newest

    def keep(self, t: int, samples: Samples) -> None:
        self._draws[t] = samples

    def forget(self, t: int) -> None:
        """Let go of what no generation after t trains on."""
        self._draws = {
            s: draw for s, draw in self._draws.items() if s == t or self._last_use.get(s, -1) > t
        }
        for s, draw in self._draws.items():
            if s < t and draw.x.nbytes >= MAPPED_BYTES and not isinstance(draw.x, np.memmap):
                self._draws[s] = (
                    self._stored_draw(s) or draw
                )  # read again from its file when it is needed

    def _prepared(self, t: int) -> Sampling:
        if self._sampling is None:
            sampling: Sampling = self.spec.sampling.make()
            founder = self._frozen(0)
            sampling.prepare(self.truth(0), self.real(0), founder, self.rng("prepare", 0))
            self._sampling = sampling
        return self._sampling

    def _missing(self, node: Node) -> set[int]:
        """The past draws that must be read or made again before this generation can be trained."""
        wanted: set[int] = set()
        ask = list(node.needs)
        while ask:
            s = ask.pop()
            if s in wanted or s in self._draws:
                continue
            wanted.add(s)
            row = self.store.row("draw", self.path[s].draw)
            if row is None or not archive.has_samples(self.store, row):
                ask += self.path[s].needs
        return wanted

    def _stored_draw(self, t: int) -> Samples | None:
        row = self.store.row("draw", self.path[t].draw)
        found = archive.read_samples(self.store, row) if row else None
        return None if found is None else found.of(self.traits)

    # ---- made again ----

    def refit(self, t: int) -> None:
        """Train generation t again; NotReproduced when its bits differ."""
        node = self.path[t]
        self._generators.pop(t, None)
        self.fit(node, self.training_set(node))
        self._same(
            self.store.row("model", node.model), archive.generator_files(self._generators[t])
        )

    def redraw(self, t: int) -> Samples:
        """Draw generation t again; NotReproduced when its bits differ."""
        node = self.path[t]
        samples = self.draw(node).samples
        self._same(self.store.row("draw", node.draw), archive.sample_files(samples))
        return samples

    def restore(self, row: Row) -> None:
        """Make the damaged files of a committed row again."""
        t = row.t
        if row.kind == "model":
            self.refit(t)
            return
        self._draws[t] = self.redraw(t)
        if archive.STRIP in row.files:
            self._same(row, archive.strip_files(self.strip(t)))

    def _same(self, row: Row | None, files: dict[str, bytes]) -> None:
        """Files made again must have the bits their row names; those that were set aside are put
        back.
        """
        if row is None:
            return
        known = {name: data for name, data in files.items() if name in row.files}
        if any(archive.differs(row, name, data) for name, data in known.items()):
            raise NotReproduced(
                f"{row.kind} {row.key} (generation {row.t}) was made by "
                f"{row.machine} and comes out differently "
                f"here ({archive.machine()}); use the same versions and thread count, or "
                "another output folder"
            )
        if self.writes:
            self.store.put(row.kind, row.key, known)


def _out_of_memory(error: Exception) -> bool:
    """Whether the device's memory does not suffice.  That of the machine is another thing: others
    fill it, too, and another machine may have more (MemoryError, engine/running/failure.py).
    """
    return "OutOfMemory" in type(error).__name__
