"""Half-trained states in the store: read as they were written, under the name they were written
under.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.status import Status
from engine.store.rows import ModelRow
from engine.store.store import Store


def test_a_damaged_state_is_not_continued(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_partial("abc-1", b"state")
    assert store.read_partial("abc-1") == b"state"
    path = tmp_path / "partial" / "abc-1"
    whole = path.read_bytes()
    for harmed in (whole[:-1] + b"E", whole[:20], b""):
        path.write_bytes(harmed)
        assert store.read_partial("abc-1") is None and not path.exists()
    assert store.damage == 3 * ["partial/abc-1"]
    store.write_partial("abc-1", b"state")
    store.drop_partial("abc")
    assert store.read_partial("abc-1") is None and not path.exists()


def test_a_state_under_another_name_is_not_continued(tmp_path: Path) -> None:
    """Networks of equal shapes and settings, of other data: nothing else would tell them apart."""
    store = Store(str(tmp_path))
    store.write_partial("abc-1", b"state")
    (tmp_path / "partial" / "abc-1").rename(tmp_path / "partial" / "def-1")
    assert store.read_partial("def-1") is None and store.damage == ["partial/def-1"]


def test_a_state_that_says_no_name_is_continued(tmp_path: Path) -> None:
    """As they were written before."""
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / "abc-1").write_bytes(hashlib.sha256(b"state").digest() + b"state")
    assert Store(str(tmp_path)).read_partial("abc-1") == b"state"


def test_what_is_damaged_is_set_aside_also_where_nobody_would_continue_it(tmp_path: Path) -> None:
    """A run that has nothing left to train makes an output whole, too."""
    store = Store(str(tmp_path))
    store.write_partial("abc-1", b"state")
    store.write_partial("def-1", b"state")
    (tmp_path / "partial" / "def-1").write_bytes(b"st")
    (tmp_path / "partial" / "row.json").write_text("{}")
    Store(str(tmp_path)).tidy()
    assert Store(str(tmp_path)).verify() == (0, []) and store.read_partial("abc-1") == b"state"
    other = Store(str(tmp_path / "other"))
    other.disk.make(other.root)
    Path(other.root, "partial").write_bytes(b"a file in the folder's place")
    Store(other.root).tidy()
    assert Store(other.root).verify() == (0, [])


def test_a_state_whose_model_is_committed_is_dropped(tmp_path: Path) -> None:
    """Its process was killed between the two."""
    store = Store(str(tmp_path))
    for key in ("abc", "def"):
        store.write_partial(f"{key}-1", b"state")
    about = {"key": "abc", "t": 1, "status": Status.OK, "reason": "", "seconds": 0.0, "machine": {}}
    store.commit([ModelRow(**about, fit={}, counts={}, sources=())])
    Store(str(tmp_path)).tidy()
    assert store.names("partial") == ["def-1"]
