"""Rules of the commit protocol, broken one at a time: for each there is a check in these tests that
then fails.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load

from engine.generators.gaussian import Gaussian
from engine.lineage.generations import GenerationCache
from engine.lineage.loop import Lineage
from engine.store import store
from engine.store.locks import FileLocks
from engine.store.rows import File, Row, row_from_json
from engine.store.seal import Damaged, sealed, sha256
from engine.store.store import Store
from engine.training.state import HEADER, State
from tests.faults.test_corruption import build, check_corruption, check_corruptions, restore, tree
from tests.faults.test_crashes import TINY, check_every_crash
from tests.run import test_training
from tests.store import test_half_trained
from tests.support.disk import Through
from tests.support.sweeps import GAUSSIAN, files, lineages, run, sweep_of

# ---- checks --------------------------------------------------------------------------------------


def crashes(folder: Path) -> None:
    check_every_crash(folder, sweep_of(GAUSSIAN, folder, *TINY))


def founder_crashes(folder: Path) -> None:
    check_every_crash(folder, sweep_of(GAUSSIAN, folder, *TINY[:2], "generations=0"))


def corruptions(only: str, seconds: float = 0) -> Callable[[Path], None]:
    return lambda folder: check_corruptions(folder, 12, seconds, only=only)


def another(kind: str) -> Callable[[Path], None]:
    """Every file of a kind replaced by another of its kind."""

    def check(folder: Path) -> None:
        sweep, out = build(folder, 0)
        clean = tree(out)
        mine = [name for name in clean if kind in name]
        for name, other in zip(mine, mine[1:] + mine[:1], strict=True):
            if clean[name] != clean[other]:
                check_corruption(
                    sweep, out, clean, {name: clean[other]}, 0, f"{other} in the place of {name}"
                )
                restore(out, clean)

    return check


def pruning(folder: Path) -> None:
    """What was pruned is no damage, and nothing of it is made again unasked."""
    sweep = sweep_of(GAUSSIAN, folder, *TINY)
    run(sweep)
    store = Store(sweep.out)
    store.prune(set(), {(row.kind, row.key) for row in store.rows()})
    before = files(Path(sweep.out))
    assert Store(sweep.out).verify()[1] == [] and all(chain.complete() for chain in lineages(sweep))
    assert sum(chain.fits for chain in run(sweep)) == 0 and files(Path(sweep.out)) == before


def two_at_once(folder: Path) -> None:
    """While one lineage fits a model another asks for the same: it waits, and finds it."""
    sweep = sweep_of(GAUSSIAN, folder, *TINY[:2], "generations=0")
    first, second = (lineages(sweep, Store(sweep.out))[0] for _ in range(2))
    inside, decided, honest_fit, honest_pause = (
        threading.Event(),
        threading.Event(),
        Gaussian.fit,
        FileLocks.pause,
    )

    def fit(self: Gaussian, *args: Any) -> dict[str, float]:
        if inside.is_set():
            decided.set()
        else:
            inside.set()
            decided.wait(20)
        return honest_fit(self, *args)

    def pause(self: FileLocks) -> None:
        decided.set()
        honest_pause(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gaussian, "fit", fit)
        patch.setattr(FileLocks, "pause", pause)
        one = threading.Thread(target=first.advance)
        one.start()
        inside.wait(20)
        second.advance()
        one.join()
    assert first.fits + second.fits == 1


def other_machines(folder: Path) -> None:
    test_training.test_a_state_of_another_machine_or_way_is_not_continued(
        {"machine": "elsewhere"}, folder
    )


def damaged_states(folder: Path) -> None:
    test_half_trained.test_a_damaged_state_is_not_continued(folder)


# ---- mutants -------------------------------------------------------------------------------------

Patch = pytest.MonkeyPatch


def row_first(patch: Patch) -> None:
    """The row is written before the files that it names."""
    put, commit = Store.put, Store.commit
    waiting: list[tuple[str, str, dict[str, bytes]]] = []

    def late(self: Store, kind: str, key: str, files: dict[str, bytes]) -> dict[str, File]:
        waiting.append((kind, key, files))
        return {name: File(sha256(data), len(data)) for name, data in files.items()}

    def early(self: Store, rows: Any) -> None:
        now, waiting[:] = list(waiting), []
        commit(self, rows)
        for args in now:
            put(self, *args)

    patch.setattr(Store, "put", late)
    patch.setattr(Store, "commit", early)


def no_fsync(patch: Patch) -> None:
    patch.setattr(Through, "fsync", lambda self, number: None)


def no_rename(patch: Patch) -> None:
    """Files are written in their place."""

    def write(self: Store, path: str, data: bytes) -> None:
        store.os.makedirs(store.os.path.dirname(path), exist_ok=True)
        with vars(store).get("open", open)(
            path, "wb"
        ) as file:  # the disk's, where the store is on one
            file.write(data)
            store.os.fsync(file.fileno())

    patch.setattr(Store, "write", write)


def digests_unread(patch: Patch) -> None:
    """Samples and weights are believed."""
    patch.setattr(
        Store,
        "get",
        lambda self, row, name: self.read(f"{self.folder(row.kind, row.key)}/{name}"),
    )
    patch.setattr(Store, "check", lambda self, row: [])


def json_unread(patch: Patch) -> None:
    """Rows are believed where they are JSON."""

    def read_json(self: Store, path: str, of: Callable[[object], Any]) -> Any:
        data = self.read(path)
        try:
            return None if data is None else of(json.loads(data)["value"])
        except (ValueError, KeyError, TypeError):
            raise Damaged(path, "not JSON") from None

    patch.setattr(Store, "read_json", read_json)


def left_in_place(patch: Patch) -> None:
    """What is damaged is noted, and stays."""
    patch.setattr(
        Store, "set_aside", lambda self, path: self.on_damage(path.removeprefix(f"{self.root}/"))
    )


def any_row(patch: Patch) -> None:
    """A row is taken by its place, whatever key it has."""
    honest = Store.row

    def row(self: Store, kind: str, key: str) -> Row | None:
        found = self.read(f"{self.folder(kind, key)}/row.json")
        try:
            value = json.loads(found or b"")["value"]
            if found == sealed(value):
                return row_from_json(value)
        except (ValueError, KeyError, TypeError):
            pass
        return honest(self, kind, key)

    patch.setattr(Store, "row", row)


def any_block(patch: Patch) -> None:
    """What stands in a block is not verified."""

    def read_block(self: Store, name: str) -> None:
        data = self.read(self.path("blocks", name))
        try:
            self._add_block(map(row_from_json, json.loads(data or b"")["value"]))
        except (ValueError, KeyError, TypeError):
            return

    patch.setattr(Store, "_read_block", read_block)


def no_lock(patch: Patch) -> None:
    patch.setattr(Lineage, "_claim", lambda self, model: None)


def no_second_look(patch: Patch) -> None:
    """Who waited for the lock makes the generation again."""
    honest = Lineage._claim

    def claim(self: Lineage, model: str) -> None:
        honest(self, model)
        self.store.row = lambda kind, key: None  # type: ignore[method-assign, assignment]

    patch.setattr(Lineage, "_claim", claim)


def any_machine(patch: Patch) -> None:
    """A half-trained state is continued, whoever wrote it."""
    honest = State.from_bytes

    def from_bytes(self: Any, data: bytes, about: str) -> int:
        return honest(self, data, json.loads(load(data)[HEADER].tobytes())["about"])

    patch.setattr(State, "from_bytes", from_bytes)


def any_state(patch: Patch) -> None:
    """A half-trained state is not verified."""
    patch.setattr(
        Store,
        "read_partial",
        lambda self, name: (self.read(self.path("partial", name)) or b"")[32:] or None,
    )


def missing_is_damaged(patch: Patch) -> None:
    honest = Store.check

    def check(self: Store, row: Row) -> list[str]:
        names = (f"{self.folder(row.kind, row.key)}/{name}" for name in row.files)
        return honest(self, row) + [name for name in names if not self.fs.exists(name)]

    patch.setattr(Store, "check", check)


def any_metric(patch: Patch) -> None:
    """A metric is taken by its place, whatever draw it is of."""
    _believe(patch, "/metrics/")


def any_lineage(patch: Patch) -> None:
    """A lineage's file is taken by its place."""
    _believe(patch, "/lineages/")


def _believe(patch: Patch, place: str) -> None:
    """What a file here says of itself is not compared with where it lies."""
    honest = Store.found

    def found(
        self: Store, path: str, of: Any, mine: Callable[[Any], bool] = lambda it: True
    ) -> Any:
        return honest(self, path, of, mine if place not in path else lambda it: True)

    patch.setattr(Store, "found", found)


def half_repaired(patch: Patch) -> None:
    """What is damaged is set aside and not made again."""
    patch.setattr(GenerationCache, "restore", lambda self, row: None)


def without_its_file(patch: Patch) -> None:
    """A lineage is complete without its own file."""
    honest = Lineage.complete

    def complete(self: Lineage) -> bool:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Store, "lineage", lambda self, lineage_id: {})
            return honest(self)

    patch.setattr(Lineage, "complete", complete)


MUTANTS: list[tuple[Callable[[Patch], None], Callable[[Path], None]]] = [
    (row_first, crashes),
    (no_fsync, crashes),
    (no_rename, crashes),
    (digests_unread, corruptions("samples")),
    (digests_unread, corruptions("weights")),
    (json_unread, corruptions("row")),
    (left_in_place, corruptions("strip")),
    (any_row, another("row.json")),
    (any_block, corruptions("block", 60)),
    (no_lock, two_at_once),
    (no_second_look, two_at_once),
    (any_state, damaged_states),
    (missing_is_damaged, pruning),
    (any_metric, another("metrics/")),
    (any_lineage, another("lineages/")),
    (half_repaired, corruptions("samples")),
    (without_its_file, founder_crashes),
]


CHECKS = [pruning, two_at_once, *(another(kind) for kind in ("row.json", "metrics/", "lineages/"))]


@pytest.mark.parametrize("check", CHECKS, ids=range(len(CHECKS)))
def test_these_checks_pass_without_a_mutant(check: Callable[[Path], None], memory: Path) -> None:
    """The others are tests by themselves."""
    check(memory)


LONGER = [pytest.param(any_machine, other_machines, marks=pytest.mark.slow)]  # trains a network


@pytest.mark.parametrize(
    ("mutant", "check"), [*MUTANTS, *LONGER], ids=lambda each: getattr(each, "__name__", "")
)
def test_a_broken_rule_fails_its_check(
    mutant: Callable[[Patch], None], check: Callable[[Path], None], memory: Path, monkeypatch: Patch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        check(memory)
