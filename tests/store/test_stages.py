"""What workers write to the output of generations that last, and who reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.store import stages
from engine.store.stages import Teller, told
from engine.store.store import Store
from engine.training.progress import Stage

NOW = Stage(3, "training", 400, 1000, 4210.4, 12.0)


class Clock:
    """A hand that tests move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(stages.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(stages.time, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_generation_that_lasts_is_told_and_forgotten_when_it_is_committed(
    tmp_path: Path, clock: Clock
) -> None:
    store = Store(str(tmp_path))
    teller = Teller(store, "abc")
    teller.hear(NOW)
    assert not list(tmp_path.iterdir()), "it has only begun"
    clock.now += stages.EVERY_SECONDS
    teller.hear(NOW)
    assert told(store, {"abc"}) == {"abc": NOW} and told(store, {"other"}) == {}
    clock.now += 1
    teller.hear(Stage(3, "drawing"))
    assert told(store, {"abc"}) == {"abc": NOW}, "not too often"
    teller.committed()
    assert told(store, {"abc"}) == {} and not list((tmp_path / "progress").iterdir())


def test_what_a_worker_wrote_that_is_gone_is_not_believed(tmp_path: Path, clock: Clock) -> None:
    store = Store(str(tmp_path))
    teller = Teller(store, "abc")
    clock.now += stages.EVERY_SECONDS
    teller.hear(NOW)
    clock.now += stages.FRESH * stages.EVERY_SECONDS
    assert told(store, {"abc"}) == {}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "{", "[" * 100_000, '{"t": "3"}', json.dumps({"t": 1, "time": 1e999})],
)
def test_an_unreadable_file_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "progress").mkdir()
    (tmp_path / "progress" / "abc.json").write_text(text)
    assert told(Store(str(tmp_path)), {"abc"}) == {}


def test_a_disk_that_refuses_does_not_end_the_training(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "progress").write_text("no folder")
    teller = Teller(Store(str(tmp_path)), "abc")
    clock.now += stages.EVERY_SECONDS
    teller.hear(NOW)
    teller.committed()


def test_links_of_strangers_are_neither_read_nor_followed(tmp_path: Path, clock: Clock) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (outside / "abc.json").write_text("theirs")
    (out / "progress").mkdir(parents=True)
    (out / "progress" / "abc.json").symlink_to(outside / "abc.json")
    teller = Teller(Store(str(out)), "abc")
    assert told(teller.store, {"abc"}) == {}
    (out / "progress" / "abc.json").unlink()
    clock.now += stages.EVERY_SECONDS
    teller.hear(NOW)
    (out / "progress").rename(out / "moved")
    (out / "progress").symlink_to(outside)
    teller.committed()
    assert (outside / "abc.json").read_text() == "theirs"
