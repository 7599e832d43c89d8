"""A thousand corruptions of an output: each is found before it is used, named, set aside, and made
again to the same bits.

Cut, flipped by a bit, emptied, exchanged with another file, or replaced by the file of another
generation or lineage; nothing but the corrupted files is touched on the way.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.spec import Sweep
from engine.store.store import Store
from tests.support.sweeps import GAUSSIAN, results, resume, run, sweep_of

TEXT = GAUSSIAN.replace("[replace, accumulate, augment]", "[replace, accumulate]").replace(
    "[0.0, 0.25, 0.5, 0.75]", "[0.5]"
)
SWEEP = ("seeds=1", "generations=3", "metrics=[moments, nll]")
Tree = dict[str, bytes]  # the bytes of files by path


def tree(out: Path) -> Tree:
    """All files but locks and what was set aside."""
    found = ((p.relative_to(out).as_posix(), p) for p in sorted(out.rglob("*")) if p.is_file())
    return {
        name: p.read_bytes() for name, p in found if name.split("/")[0] not in ("locks", "damaged")
    }


def build(folder: Path, seconds: float) -> tuple[Sweep, Path]:
    """An output with every kind of file: one metric in the rows, one beside them; seconds > 0: rows
    in blocks.
    """
    sweep = sweep_of(TEXT, folder, *SWEEP)
    out = folder / ("blocks" if seconds else "rows")
    run(sweep_of(TEXT, folder, *SWEEP[:2]), Store(str(out)), seconds)
    run(sweep, Store(str(out)), seconds)
    assert len(sweep.lineages) == 2 and {kind(name) for name in tree(out)} >= KINDS - {
        "row" if seconds else "block"
    }
    return sweep, out


KINDS = {"row", "block", "samples", "strip", "weights", "metric", "lineage"}


def kind(name: str) -> str:
    folder, last = name.split("/")[0], name.split("/")[-1]
    if folder in ("blocks", "lineages"):
        return folder.removesuffix("s")
    if "/metrics/" in name or "/weights/" in name:
        return "metric" if "/metrics/" in name else "weights"
    return last.split(".")[0]


def peers(name: str, clean: Tree) -> list[str]:
    """Other files of its kind: of another generation or of another lineage."""
    return [
        other
        for other in clean
        if other != name and kind(other) == kind(name) and clean[other] != clean[name]
    ]


def cut(name: str, clean: Tree, choose: random.Random) -> Tree:
    return {name: clean[name][: choose.randrange(len(clean[name]))]}


def flip(name: str, clean: Tree, choose: random.Random) -> Tree:
    data = bytearray(clean[name])
    data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
    return {name: bytes(data)}


def exchange(name: str, clean: Tree, choose: random.Random) -> Tree:
    """With any file at all that has other bytes."""
    other = choose.choice([other for other in clean if clean[other] != clean[name]])
    return {name: clean[other], other: clean[name]}


def replaced(name: str, clean: Tree, choose: random.Random) -> Tree:
    """By the same kind of file of another generation or lineage: whole, digest and all, and yet not
    this one.
    """
    return {
        name: clean[
            choose.choice(peers(name, clean) or [n for n in clean if clean[n] != clean[name]])
        ]
    }


CORRUPTIONS: dict[str, Callable[[str, Tree, random.Random], Tree]] = {
    "cut": cut,
    "flipped": flip,
    "exchanged": exchange,
    "replaced": replaced,
}


def harmless(name: str, data: bytes, clean: Tree) -> bool:
    """A block is named by one of its keys, and rows name themselves: a whole block may lie under
    the name of another.
    """
    return kind(name) == "block" and any(kind(n) == "block" and data == clean[n] for n in clean)


def rowless(bad: Tree) -> set[str]:
    """Files whose row is corrupted too: without a row they never happened, and are written over
    when it is made again.
    """
    blocks = any(kind(name) == "block" for name in bad)
    return {
        n
        for n in bad
        if kind(n) not in ("row", "block")
        and (blocks or "/".join([*n.split("/")[:2], "row.json"]) in bad)
    }


def check_shown(
    sweep: Sweep, out: Path, want: dict[tuple[str, int], dict[str, Any]], what: str
) -> None:
    """Who only looks sees nothing that is wrong."""
    for place, row in results(sweep, Store(str(out), repairs=False)).items():
        assert (
            row["values"].items() <= want[place]["values"].items()
            and row["status"] == want[place]["status"]
        ), what


def check_corruption(
    sweep: Sweep, out: Path, clean: Tree, bad: Tree, seconds: float, what: str
) -> None:
    """Lay the bad bytes into a sound output and run what is not complete, as `ouro run` does."""
    want = results(sweep, Store(str(out)))
    for name, data in bad.items():
        (out / name).write_bytes(data)
    named = list[str]()
    store = Store(str(out), on_damage=named.append)
    try:
        check_shown(sweep, out, want, what)
        resume(sweep, store, seconds)
    except Exception as error:
        raise AssertionError(f"{what}: it was used, to no good: {error!r}") from error
    harmful = {name for name, data in bad.items() if not harmless(name, data, clean)}
    assert harmful - rowless(bad) <= set(named) <= harmful, f"{what}: named {named}"
    assert len(store.names("damaged")) == len(set(named)), f"{what}: not set aside"
    assert results(sweep, Store(str(out))) == want, what
    idle = {
        name for name in rowless(bad) if kind(name) == "metric"
    }  # the row made again has every metric in it
    assert set(Store(str(out)).verify()[1]) <= idle, what
    now, again = tree(out), {name for name in bad if kind(name) in ("row", "block")} | idle
    touched = {name for name in clean if now.get(name) != clean[name]} | (now.keys() - clean.keys())
    assert touched <= again, (
        f"{what}: touched {touched - again}"
    )  # rows hold times: what they say was compared


def restore(out: Path, clean: Tree) -> None:
    shutil.rmtree(out / "damaged", ignore_errors=True)
    for name, data in clean.items():
        if not (out / name).exists() or (out / name).read_bytes() != data:
            (out / name).write_bytes(data)


def check_corruptions(
    folder: Path, count: int, seconds: float = 0, seed: int = 0, only: str = ""
) -> None:
    """So many corruptions one after the other, every kind of file equally often."""
    sweep, out = build(folder, seconds)
    clean, choose = tree(out), random.Random(seed)
    by_kind: dict[str, list[str]] = {}
    for name in clean:
        by_kind.setdefault(kind(name), []).append(name)
    for i in range(count):
        name = choose.choice(by_kind[only or sorted(by_kind)[i % len(by_kind)]])
        how = choose.choice(sorted(CORRUPTIONS))
        bad = CORRUPTIONS[how](name, clean, choose)
        check_corruption(
            sweep, out, clean, bad, seconds, f"corruption {i}: {' and '.join(sorted(bad))} {how}"
        )
        restore(out, clean)


@pytest.mark.parametrize("seconds", [0, 60], ids=["rows", "blocks"])
@pytest.mark.parametrize(
    ("count", "seed"),
    [(40, 1), pytest.param(460, 2, marks=pytest.mark.slow)],
    ids=["some", "the_others"],
)
def test_a_thousand_corruptions(count: int, seed: int, seconds: float, memory: Path) -> None:
    check_corruptions(memory, count, seconds, seed)
