"""On a GPU: the same parts train and draw there, keep to their memory, and repeat themselves.

Run with `pytest -m gpu`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine._memory import share_gpu
from engine.registry import describe, make, names
from engine.samples import Samples
from engine.training import resume
from engine.training.device import device
from tests.support.sweeps import files, results, run, sweep_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
LEARNED = [
    name
    for name in names("generator")
    if describe("generator", name).constants.get("COST") != "tiny"
]
LINEAGE = """
# Question: a lineage on a GPU
base:
  dataset: digits
  generator: {name: vae, steps: 30, width: 8, latent: 4, precision: bf16}
  n_real: 200
seeds: 1
generations: 2
metrics: [fid]
"""


def trained(name: str, **params: Any) -> tuple[Any, Samples]:
    known = describe("generator", name)
    accepts = known.constants["ACCEPTS"]
    kind = "digits" if "images" in accepts else "markov" if "text" in accepts else "mixture"
    data = make("dataset", kind).sample(120, np.random.default_rng(0))
    generator = make("generator", name, **{**known.constants["TINY"], **params})
    generator.fit(data, np.random.default_rng(1))
    return generator, data


@pytest.mark.parametrize("name", LEARNED)
def test_a_generator_on_a_gpu_repeats_itself(name: str) -> None:
    """To a hundredth of the pixel range: not every operation has a deterministic form on a GPU."""
    draws = [
        trained(name)[0].sample(50, np.random.default_rng(2)).x.astype(float) for _ in range(2)
    ]
    assert np.isfinite(draws[0]).all() and np.abs(draws[0] - draws[1]).mean() <= 0.01 * np.ptp(
        draws[0]
    )


@pytest.mark.parametrize(
    "name", [n for n in LEARNED if "precision" in describe("generator", n).parameters]
)
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_generator_trains_in_less_precision(name: str, precision: str) -> None:
    generator, _ = trained(name, precision=precision)
    assert np.isfinite(generator.sample(20, np.random.default_rng(2)).x.astype(float)).all()


def test_fp16_scales_its_losses() -> None:
    generator, _ = trained("vae", precision="fp16")
    assert np.isfinite(generator.sample(20, np.random.default_rng(2)).x.astype(float)).all()


def test_speed_and_peak_memory_are_measured() -> None:
    with resume.keeping(resume.Place()) as place:
        trained("vae")
    assert place.speed["examples_per_second"] > 0 and place.speed["peak_memory_gb"] > 0


def test_a_lineage_on_a_gpu_is_in_its_rows(tmp_path: Path) -> None:
    sweep = sweep_of(LINEAGE, tmp_path)
    run(sweep)
    assert len(results(sweep)) == 3 and files(Path(sweep.out))


def test_memory_that_runs_out_is_an_error_with_a_name() -> None:
    """What the lineage recognises and answers with smaller minibatches."""
    with pytest.raises(Exception, match="memory") as error:
        torch.empty(1 << 50, dtype=torch.uint8, device=device())
    assert "OutOfMemory" in type(error.value).__name__


def test_a_share_of_the_memory_is_a_fence() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    share_gpu(0.1)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.2 * total), dtype=torch.uint8, device=device())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
