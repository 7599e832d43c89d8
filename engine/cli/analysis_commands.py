"""The commands of `ouro` that read results: each in a file of its own, imported when the command
line starts, so light.
"""

from __future__ import annotations

import typer


def add(app: typer.Typer) -> None:
    """Add them to the engine's."""
    from engine.cli import report as report_command
    from engine.cli import threshold as threshold_command

    app.command()(report_command.report)
    app.command()(report_command.export)
    app.command()(threshold_command.threshold)
