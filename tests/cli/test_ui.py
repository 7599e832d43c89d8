"""The server behind `ouro ui` lives as long as the command."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.cli import ui
from engine.tracking.asking import Unread
from engine.tracking.tracker import Pages
from tests.support.mirrored import free_port

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_it_ends_when_its_address_cannot_be_found(handlers: None) -> None:
    seen: list[Path] = []

    def nowhere() -> str:
        raise Unread("what is tracked there cannot be read")

    def environment(private: Path) -> dict[str, str]:
        seen.append(private)
        assert private.is_dir()
        return {}

    port, mine = free_port(), psutil.Process()
    command = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port))
    before = {child.pid for child in mine.children()}
    with pytest.raises(Unread):
        ui._serve(Pages("pages", nowhere, command, environment), port)
    assert {child.pid for child in mine.children()} == before
    assert not seen[0].exists()
