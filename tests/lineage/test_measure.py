"""What a row says of an array over replicates: mean, standard error, quantiles; and of gaps."""

from __future__ import annotations

import numpy as np
import pytest

from engine.lineage.measure import flatten
from engine.parts import Undefined, Value
from engine.store.keys import Layout


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


def test_what_a_value_is_read_against_stands_beside_it_in_a_row() -> None:
    found = flatten(
        {
            "fid": Value(3.0, 1.0, 0.5, 60),
            "fid/excess": 2.0,
            "pr/recall": Value(0.25, 0.75, n=40),
        }
    )
    assert found.undefined == {}
    assert found.values == {
        "fid": 3.0,
        "fid/floor": 1.0,
        "fid/floor_sd": 0.5,
        "fid/n": 60.0,
        "fid/excess": 2.0,
        "pr/recall": 0.25,
        "pr/recall_floor": 0.75,
        "pr/n": 40.0,
    }


def test_a_floor_without_a_value_has_a_reason_and_leaves_the_number_as_it_is() -> None:
    few = Undefined("too few")
    found = flatten({"fid": Value(3.0, few, few, 60), "kid": Value(Undefined("gone"), 1.0)})
    assert found.values == {"fid": 3.0, "fid/n": 60.0, "kid/floor": 1.0}
    assert found.undefined == {"fid/floor": "too few", "fid/floor_sd": "too few", "kid": "gone"}


def test_a_reader_finds_beside_each_key_what_was_written_beside_it() -> None:
    """Every column of every key, there and back."""
    replicates = np.array([1.0, 2.0, 6.0])
    answer = {
        "fid": Value(replicates, 1.0, 0.5, 60),
        "fid/class_2": Value(4.0, 0.25),
        "kid": Value(Undefined("gone"), Undefined("too few"), n=40),
        "pr/recall": Value(0.25, 0.75, n=30),
    }
    row = flatten(answer)
    layout = Layout(tuple(row.values), tuple(row.undefined))
    numbers = [*row.values.values(), None]

    def column(name: str) -> dict[str, float | None]:
        places = layout.places(name)
        return {key: numbers[place] for key, place in zip(layout.keys, places, strict=True)}

    assert layout.keys == ["fid", "fid/class_2", "kid", "kid/floor", "pr/recall"]
    nothing = dict.fromkeys(layout.keys)
    assert column("value") == nothing | {"fid": 3.0, "fid/class_2": 4.0, "pr/recall": 0.25}
    assert column("floor") == nothing | {"fid": 1.0, "fid/class_2": 0.25, "pr/recall": 0.75}
    assert column("floor_sd") == nothing | {"fid": 0.5}
    counts = {"fid": 60.0, "fid/class_2": 60.0, "kid": 40.0, "kid/floor": 40.0, "pr/recall": 30.0}
    assert column("n") == counts
    assert column("se") == nothing | {"fid": pytest.approx(replicates.std(ddof=1) / 3**0.5)}
    quantiles = [column(name)["fid"] for name in ("q05", "q50", "q95")]
    assert quantiles == pytest.approx([1.1, 2.0, 5.6])
    reasons = {key: place for key, place in zip(layout.keys, layout.reasons, strict=True)}
    assert reasons == {"fid": -1, "fid/class_2": -1, "kid": 0, "kid/floor": 1, "pr/recall": -1}


def test_a_number_beside_no_other_is_a_row_of_its_own() -> None:
    """A count alone, a floor whose number is not there, and one deeper than its metric's parts."""
    keys = ("a/n", "b/floor", "c/d", "c/d/floor")
    assert Layout(keys, ()).keys == list(keys)
