"""What pruning takes away, what it leaves, and what it says of it."""

from __future__ import annotations

from pathlib import Path

from engine.store.rows import row_from_json
from engine.store.store import Kind, Store

MODEL = {
    **{"kind": "model", "t": 1, "status": "ok", "reason": "", "seconds": 0.0, "time": 0.0},
    **{"machine": {}, "fit": {}, "counts": {}, "sources": []},
}


def committed(store: Store, key: str, **sizes: int) -> tuple[Kind, str]:
    """A model with files of these sizes."""
    files = store.put("model", key, {name: b"x" * size for name, size in sizes.items()})
    given = {name: {"sha256": file.sha256, "bytes": file.bytes} for name, file in files.items()}
    store.commit([row_from_json({**MODEL, "key": key, "files": given})])
    return "model", key


def there(store: Store, key: str) -> set[str]:
    return {file.name for file in Path(store.folder("model", key)).iterdir()} - {"row.json"}


def test_pruning_takes_what_is_not_kept_and_says_how_much(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    first, second = committed(store, "a", weights=100, more=7), committed(store, "b", weights=30)
    assert store.prune({second}, {first, second}) == 107
    assert there(store, "a") == set() and there(store, "b") == {"weights"}
    assert store.row("model", "a") is not None, "a row stays"
    assert store.prune(set(), {first, second}) == 30, "what is gone is not counted twice"


def test_pruning_leaves_the_pictures(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    mine = committed(store, "a", weights=100, strip=7)
    assert store.prune(set(), {mine}) == 100 and there(store, "a") == {"strip"}


def test_a_key_that_was_never_committed_is_passed_over(tmp_path: Path) -> None:
    """Of a lineage that ended early the later generations have no row."""
    store = Store(str(tmp_path))
    mine = committed(store, "b", weights=100)
    keys: set[tuple[Kind, str]] = {("model", "a"), ("draw", "c"), mine}
    assert store.prune(set(), keys) == 100 and there(store, "b") == set()
