"""How far the work inside a generation is: said by loops, heard by who listens."""

from __future__ import annotations

import pytest

from engine.training import progress
from engine.training.progress import Stage


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is told."""
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)


def test_loops_go_through_all_of_their_items_whether_heard_or_not() -> None:
    assert list(progress.steps(3, 6, rows=32)) == [4, 5, 6]
    assert list(progress.pieces(5, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(progress.pieces(0, 2)) == [] == list(progress.steps(6, 6, rows=1))
    heard: list[Stage] = []
    with progress.heard(heard.append):
        assert list(progress.pieces(5, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert heard == [], "it took no time"


@pytest.mark.usefixtures("often")
def test_a_stage_says_its_steps_speed_and_time_left() -> None:
    heard: list[Stage] = []
    with progress.heard(heard.append), progress.stage(7, "training"):
        list(progress.steps(8, 10, rows=32))
    begun, one, two = heard
    assert begun == Stage(7, "training")
    assert [(s.t, s.what, s.done, s.total) for s in (one, two)] == [
        (7, "training", 9, 10),
        (7, "training", 10, 10),
    ]
    assert one.left and one.speed == pytest.approx(32 / one.left), "one step made, one is left"
    assert two.left == 0


@pytest.mark.usefixtures("often")
def test_a_stage_within_a_stage_has_its_own_name_and_rows_are_counted() -> None:
    heard: list[Stage] = []
    with progress.heard(heard.append), progress.stage(1, "measuring fid"):
        with progress.stage(1, "training"):
            pass
        list(progress.pieces(300, 256))
    assert [(s.what, s.done, s.total) for s in heard] == [
        ("measuring fid", 0, 0),
        ("training", 0, 0),
        ("measuring fid", 256, 300),
        ("measuring fid", 300, 300),
    ]


@pytest.mark.usefixtures("often")
def test_who_listened_before_listens_again() -> None:
    outer: list[Stage] = []
    inner: list[Stage] = []
    with progress.heard(outer.append):
        with progress.heard(inner.append):
            list(progress.pieces(1, 1))
        assert len(inner) == 1 and not outer
        list(progress.pieces(1, 1))
    list(progress.pieces(1, 1))
    assert len(inner) == 1 == len(outer)
