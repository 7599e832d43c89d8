"""Fills the wheel with the experiments.

They lie at the top of the repository, where people look for them, and in a wheel inside of the
engine: a top-level package called `experiments` would stand in everybody's way.  A list of files
in pyproject.toml cannot move them there.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# with the scripts and tables beside them that some of them name
EXPERIMENTS = sorted(file for file in Path("experiments").iterdir() if file.is_file())


class BuildWithExperiments(build_py):
    """Copies them into the folder that engine/experiment/sources.py reads."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # there a checkout's own are found
            shipped = Path(self.build_lib, "engine", "experiment", "shipped")
            shipped.mkdir(parents=True, exist_ok=True)
            for file in EXPERIMENTS:
                self.copy_file(str(file), str(shipped / file.name))

    def get_source_files(self) -> list[str]:
        """Of a source distribution, so that a wheel can be built of it."""
        return [*super().get_source_files(), *map(str, EXPERIMENTS)]


setup(cmdclass={"build_py": BuildWithExperiments})
