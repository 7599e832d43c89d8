"""A sweep whose cache is damaged between two runs: the same numbers, and a line that names the
files.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store.store import Store
from tests.support.ouro import ouro
from tests.support.sweeps import results, sweep_of

DIGITS = """
# Question: a test of the cache
base:
  dataset: digits
  generator: {name: vae, latent: 2, steps: 2, batch: 8, width: 4}
  n_real: 40
generations: 1
metrics: [{name: fid, extractor: lenet}]
tracking: none
"""


@pytest.mark.slow
def test_a_cut_network_changes_no_number_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path / "cache"))

    def ran(name: str) -> tuple[object, str]:
        (tmp_path / name).mkdir()
        sweep = sweep_of(DIGITS, tmp_path / name)
        file = str(tmp_path / name / "experiment.yaml")
        done = ouro("run", file, "--local", "--out", sweep.out, cwd=tmp_path, columns=400)
        assert done.returncode == 0, done.stderr
        return results(sweep, Store(sweep.out)), done.stdout

    clean, said = ran("first")
    assert "set aside" not in said
    (network,) = (tmp_path / "cache").glob("lenet-*.safetensors")
    whole = network.read_bytes()
    network.write_bytes(whole[: len(whole) // 2])
    again, said = ran("second")
    assert again == clean and network.read_bytes() == whole
    named = f"set aside in {tmp_path / 'cache' / 'damaged'} and made again: {network.name}"
    assert f"1 files of the cache were {named}" in said
