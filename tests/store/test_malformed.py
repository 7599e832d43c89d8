"""Rows of somebody's output: whatever shape a file has, it is read, or it is damage; never a
traceback.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.frame.rows import from_store
from engine.lineage.history import histories
from engine.status import Status
from engine.store.failures import Failure
from engine.store.measured import Later, Measured
from engine.store.rows import Generation, LineageRow, row_from_json
from engine.store.seal import END, HEAD, MIDDLE, sealed, sha256, unsealed
from engine.store.shapes import Malformed
from engine.store.store import Store
from tests.support.rows import failure, generation
from tests.support.sweeps import GAUSSIAN, lineages, results, resume, run, sweep_of

DRAW = {
    "kind": "draw",
    "key": "d0",
    "t": 0,
    "status": "ok",
    "reason": "",
    "time": 1.8e9,
    "seconds": 0.5,
    "machine": {"numpy": "2", "threads": 1},
    "files": {"samples.safetensors": {"sha256": "0" * 64, "bytes": 8}},
    "model": "m0",
    "n": 10,
    "report": {"acceptance": 0.5, "reward": None},
    "metrics": {
        "fid": {"values": {"fid": 2.0, "fid/n": 10}, "undefined": {}, "about": {"extractor": "a"}},
        "nll": {"values": {"nll/q05": 1.0}, "undefined": {"nll": "2 of 5 are not finite"}},
    },
}
MODEL = {k: v for k, v in DRAW.items() if k not in ("model", "n", "report", "metrics")} | {
    "kind": "model",
    "fit": {"loss": 1.0, "elbo": None},
    "counts": {"real": 5.0, "synthetic": 5.0, "fraction": 0.5},
    "sources": ["a", "b"],
    "speed": {"examples": 10.0},
}
LINEAGE = {
    "lineage": "a",
    "label": "a, b",
    "spec": {"generator": {"name": "elsewhere"}},
    "generations": [{"t": 0, "model": "m0", "draw": "d0"}],
    "classes": ["cat", "dog"],
}
READERS: dict[str, tuple[dict[str, Any], Callable[[object], Any]]] = {
    "model": (MODEL, row_from_json),
    "draw": (DRAW, row_from_json),
    "lineage": (LINEAGE, LineageRow.from_json),
    "failure": (failure().to_json(), Failure.from_json),
    "generation": (generation("a", 3, {"fid": 1.0}).to_json(), Generation.from_json),
    "metric": ({"draw": "d0", "metric": "fid", "values": DRAW["metrics"]["fid"]}, Later.from_json),  # type: ignore[index]
}
JUNK: list[Any] = [
    *(None, True, False, -1, 7, 0.5, 10**400, float("inf"), "", "text", "../x", "a/../b"),
    *([], [[]], ["a", 1], {}, {"": ""}, {"a": None}, {"a": {"b": []}}, "\ud800", 2**40),
]
GONE = object()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value: the whole, each item, each item of these."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def changed(value: Any, path: tuple[Any, ...], to: Any) -> Any:
    if not path:
        return to
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if to is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return value


@pytest.mark.parametrize("kind", READERS)
def test_every_value_of_every_file_may_be_anything(kind: str) -> None:
    value, read = READERS[kind]
    usable(read(value))
    refused = 0
    for path in places(value):
        for junk in [*JUNK, GONE] if path else JUNK:
            try:
                found = read(changed(value, path, junk))
            except Malformed as error:
                assert str(error)
                refused += 1
            else:
                usable(found)
    assert refused > 5 * len(list(places(value))), "most of it is refused"


def usable(found: Any) -> None:
    """What was read can be written, and a spec looked into."""
    if isinstance(found, LineageRow):
        found.known_spec()
    elif not isinstance(found, Later):
        json.dumps(found.to_json(), allow_nan=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", READERS)
@given(junk=JSON)
def test_anything_in_the_place_of_a_file_is_malformed(kind: str, junk: Any) -> None:
    with pytest.raises(Malformed):
        READERS[kind][1](junk)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        *(("status", w) for w in ("OK", "good", 1, None)),
        *(("t", w) for w in (-1, 2**31, 1.0, True, "1")),
        *(("seconds", w) for w in ("1", None, True)),
        *(("files", w) for w in ({"../x": {"sha256": "0", "bytes": 1}}, {"x": {"sha256": "0"}})),
        *(("metrics", {"fid": w}) for w in ({}, [], {"values": {"fid": "2"}, "undefined": {}})),
        *(("metrics", {"fid": {"values": {"fid": w}, "undefined": {}}}) for w in (True, None, [])),
    ],
)
def test_a_wrong_value_is_no_value(key: str, wrong: Any) -> None:
    with pytest.raises(Malformed):
        row_from_json({**DRAW, key: wrong})


def test_a_file_that_is_not_finite_or_half_a_letter() -> None:
    assert unsealed(resealed(b"{}")) == {}
    for text in (b'{"a": NaN}', b'{"a": Infinity}', b"{", b'"\xff"', b"[" * 100_000):
        with pytest.raises(Malformed):
            unsealed(resealed(text))
    with pytest.raises(Malformed, match="not finite"):
        row_from_json(
            {**DRAW, "metrics": {"fid": {"values": json.loads('{"fid": 1e999}'), "undefined": {}}}}
        )
    assert row_from_json({**DRAW, "reason": "half \ud800"}).reason == "half ?"


def resealed(body: bytes) -> bytes:
    """Any bytes under a digest that is right."""
    return HEAD + sha256(body).encode() + MIDDLE + body + END


WRONG = {
    "models/*/row.json": {"status": "splendid"},
    "draws/*/row.json": {"metrics": {"moments": {"values": []}}},
    "draws/*/metrics/*.json": {"values": {"values": {"nll": "low"}, "undefined": {}}},
    "lineages/*.json": {"generations": [{"t": 0}]},
    "failures/*.json": {"message": None},
}


@pytest.mark.parametrize("pattern", WRONG)
def test_a_file_of_another_shape_is_damage_and_made_again(pattern: str, tmp_path: Path) -> None:
    """Its digest is right, what it holds is not: it is named, set aside, made again."""
    small = ("grid={}", "seeds=1", "generations=2")
    run(sweep_of(GAUSSIAN, tmp_path, *small))
    sweep = sweep_of(GAUSSIAN, tmp_path, *small, "metrics=[moments, nll]")
    run(sweep)
    clean, out = results(sweep), Path(sweep.out)
    Store(sweep.out).fail(sweep.lineages[0].id, failure())
    target = sorted(out.glob(pattern))[-1]
    value = unsealed(target.read_bytes())
    assert isinstance(value, dict)
    target.write_bytes(sealed({**value, **WRONG[pattern]}))
    looked, named = list[str](), list[str]()
    looking = Store(sweep.out, on_damage=looked.append, repairs=False)
    assert len(histories(sweep, looking)) == 1 and looking.verify()[1]
    assert from_store(sweep, progress=False) is not None
    place = target.relative_to(out).as_posix()
    assert set(looked) == {place} and target.exists(), "who only looks leaves it there"
    resume(sweep, Store(sweep.out, on_damage=named.append))
    Store(sweep.out, on_damage=named.append).verify()
    assert set(named) == {place}
    assert results(sweep) == clean and all(chain.complete() for chain in lineages(sweep))


def test_a_block_of_another_shape_is_damage(tmp_path: Path) -> None:
    sweep = sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1", "generations=3")
    run(sweep, seconds=60)
    clean = results(sweep)
    block = next((Path(sweep.out) / "blocks").iterdir())
    rows = unsealed(block.read_bytes())
    assert isinstance(rows, list)
    for wrong in ({}, [1], [*rows[:-1], {**rows[-1], "t": -1}], rows[0], "rows", None):
        block.write_bytes(sealed(wrong))
        store = Store(sweep.out)
        assert store.verify()[1] == [f"blocks/{block.name}"]
        resume(sweep, Store(sweep.out), seconds=60)
        assert results(sweep) == clean


def test_statuses_say_what_follows() -> None:
    ends = {"diverged", "constant", "quota_unfilled", "extinct"}
    assert {status for status in Status if status.ends} == ends
    assert {status for status in Status if status.absorbing} == ends - {"quota_unfilled"}
    assert {s for s in Status if not s.measurable} == ends - {"constant"}


def test_a_measured_value_is_told_by_key_whether_read_or_made() -> None:
    draw = row_from_json(DRAW)
    assert draw.kind == "draw"
    fid, nll = draw.metrics["fid"], draw.metrics["nll"]
    assert fid == Measured({"fid": 2.0, "fid/n": 10.0}, {}, {"extractor": "a"})
    assert (dict(nll.values), dict(nll.undefined)) == (
        {"nll/q05": 1.0},
        {"nll": "2 of 5 are not finite"},
    )
    assert list(draw.metrics) == ["fid", "nll"] and "kid" not in draw.metrics
