"""Ouroboros: lineages of generative models that train on their own samples.

    import engine

    sweep = engine.load("experiments/quickstart.yaml", seeds=1)
    result = engine.run(sweep, out="runs/mine", local=True)
    result.frame()

The public names are imported when they are asked for, so that `import engine` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.api.answer import Answer as Answer
    from engine.api.answer import threshold as threshold
    from engine.api.curve import Curve as Curve
    from engine.api.curve import measure as measure
    from engine.api.experiment import Sweep as Sweep
    from engine.api.experiment import load as load
    from engine.api.experiment import sweep as sweep
    from engine.api.result import Result as Result
    from engine.api.run import open as open
    from engine.api.run import run as run
    from engine.experiment.reader import SpecError as SpecError
    from engine.parts import Dataset as Dataset
    from engine.parts import Generator as Generator
    from engine.parts import Metric as Metric
    from engine.parts import Policy as Policy
    from engine.parts import Reward as Reward
    from engine.parts import Sampling as Sampling
    from engine.samples import Samples as Samples
    from engine.spec import LineageSpec as LineageSpec
    from engine.status import EnvironmentProblem as EnvironmentProblem
    from engine.store.locks import Busy as Busy

_PLACES = {
    "load": "engine.api.experiment",
    "sweep": "engine.api.experiment",
    "run": "engine.api.run",
    "open": "engine.api.run",
    "threshold": "engine.api.answer",
    "measure": "engine.api.curve",
    "Sweep": "engine.api.experiment",
    "Result": "engine.api.result",
    "Answer": "engine.api.answer",
    "Curve": "engine.api.curve",
    "Samples": "engine.samples",
    "LineageSpec": "engine.spec",
    "Dataset": "engine.parts",
    "Generator": "engine.parts",
    "Policy": "engine.parts",
    "Sampling": "engine.parts",
    "Reward": "engine.parts",
    "Metric": "engine.parts",
    "SpecError": "engine.experiment.reader",
    "Busy": "engine.store.locks",
    "EnvironmentProblem": "engine.status",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    import difflib

    near = difflib.get_close_matches(name, _PLACES, 1)
    said = f"; did you mean {near[0]!r}?" if near else ""
    raise AttributeError(f"engine has no {name!r}{said}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
