"""Parts are made here from their TINY parameters, which for some are command lines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.commands import permitting


@pytest.fixture(autouse=True)
def _commands_are_allowed() -> Iterator[None]:
    with permitting():
        yield
