"""What a row says of an array over replicates: mean, standard error, quantiles; and of gaps."""

from __future__ import annotations

import numpy as np
import pytest

from engine.lineage.measure import flatten
from engine.parts import Undefined


@pytest.mark.parametrize("replicates", [2, 3, 20, 101])
def test_an_array_becomes_its_mean_standard_error_and_quantiles(replicates: int) -> None:
    values = np.random.default_rng(replicates).exponential(size=replicates)
    row = flatten({"fid": values}).values
    assert row["fid"] == pytest.approx(values.mean(), rel=1e-14)
    assert row["fid/se"] == pytest.approx(values.std(ddof=1) / np.sqrt(replicates), rel=1e-14)
    for name, q in {"q05": 0.05, "q50": 0.5, "q95": 0.95}.items():
        assert row[f"fid/{name}"] == pytest.approx(np.quantile(values, q), rel=1e-12)
    assert len(row) == 5


def test_a_replicate_without_a_value_leaves_the_mean_undefined_with_a_reason() -> None:
    values = np.array([1.0, np.nan, 3.0, np.inf])
    found = flatten({"fid": values, "kid": np.ones(4), "n": 4.0, "gone": Undefined("no samples")})
    assert found.undefined == {
        "fid": "2 of 4 replicates have no finite value",
        "gone": "no samples",
    }
    assert "fid" not in found.values and "fid/se" not in found.values
    assert found.values["kid"] == 1.0 and found.values["kid/se"] == 0.0
    assert found.values["n"] == 4.0


def test_a_number_that_is_none_is_undefined_with_a_reason() -> None:
    found = flatten({"fid": float("nan")})
    assert found.values == {} and found.undefined == {"fid": "the value is nan"}
