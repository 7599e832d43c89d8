"""What is typed after `ouro`, as errors may repeat it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from engine._foreign import one_line, without_passwords

UsageError: Any = typer.BadParameter.__mro__[1]  # of the click that this typer brings along


class Words(TyperGroup):
    """Commands whose errors of usage stand in one line each, without what a terminal would obey."""

    def make_context(self, *given: Any, **more: Any) -> Any:
        with _told():
            return super().make_context(*given, **more)

    def invoke(self, ctx: Any) -> Any:
        with _told():
            return super().invoke(ctx)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        error.message = one_line(without_passwords(error.message))
        raise
