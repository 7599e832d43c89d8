"""Names of cells: one spelling, unique within a grid, short enough for a table of 80 columns."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.names import LONGEST, Names, alone, by_cell
from engine.spec import LineageSpec, Part
from tests.support.sweeps import sweep_of


def spec_of(
    generator: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    sampling: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    **sizes: Any,
) -> LineageSpec:
    def part(kind: str, values: dict[str, Any] | None, default: str) -> Part:
        given = dict(values or {"name": default})
        return Part(kind, given.pop("name"), given)

    sizes = {"n_real": 100, "seed": 0} | sizes
    return LineageSpec(
        part("dataset", dataset, "gaussian"),
        part("generator", generator, "gaussian"),
        part("policy", policy, "replace"),
        part("sampling", sampling, "plain"),
        **sizes,
    )


def test_only_what_varies_is_said() -> None:
    cells = [
        spec_of(generator={"name": "kde", "bandwidth": 0.3}),
        spec_of(generator={"name": "kde"}),
        spec_of(generator={"name": "kde"}, policy={"name": "replace", "synthetic_fraction": 0.5}),
    ]
    names = Names(cells)
    assert [names.cell(c) for c in cells] == [
        "bandwidth=0.3, replace 1",
        "bandwidth=0.5, replace 1",
        "bandwidth=0.5, replace 0.5",
    ], "defaults are filled in; the generator and the sampling are the same everywhere"
    assert names.workflow(cells[0]) == "bandwidth=0.3, replace"
    assert names.workflow(cells[1]) == names.workflow(cells[2]) == "bandwidth=0.5, replace"
    assert names.lineage(cells[0]) == "bandwidth=0.3, replace 1, seed 0"
    assert names.part(cells[0], "generator") == "bandwidth=0.3"
    assert names.part(cells[0], "dataset") == "gaussian", "its own name where nothing varies"


def test_a_single_cell_and_one_without_a_grid_are_generator_and_policy() -> None:
    one = spec_of(sampling={"name": "biased"})
    assert Names([one]).cell(one) == alone(one) == "gaussian, replace 1, biased"
    assert Names([one]).workflow(one) == "replace"
    assert alone(spec_of(policy={"name": "accumulate"})) == "gaussian, accumulate"


def test_switches_that_stand_by_default_are_left_out_before_words_are_cut() -> None:
    ways = ({"replayed": False, "real": "all"}, {"replayed": False, "real": 16}, {})
    cells = [spec_of(policy={"name": "replay", **way}) for way in ways]
    nested = {"name": "correct", "sampling": {"name": "recall"}}
    cells += [spec_of(policy={"name": "replay"}, sampling=nested)]
    cells += [spec_of(policy={"name": "replay"}, sampling={"name": "correct"})]
    assert [Names(cells).cell(c) for c in cells] == [
        "replay replayed=false real=all, plain",
        "replay replayed=false real=16, plain",
        "replay real=0, plain",
        "replay real=0, correct sampling=recall",
        "replay real=0, correct",
    ]
    few = Names(cells[:3])
    assert few.cell(cells[2]) == "replay replayed=true real=0", "said where there is room"


def test_a_parameter_that_two_parts_have_names_its_part() -> None:
    cells = [
        spec_of(dataset={"name": "gaussian", "d": d}, generator={"name": g})
        for d in (1, 2)
        for g in ("gaussian", "kde")
    ]
    assert Names(cells).cell(cells[1]) == "d=1, kde"


def test_a_nested_part_is_told_apart_by_its_own_parameters() -> None:
    rewards = [
        {"name": "classifier", "target": 1},
        {"name": "classifier"},
        {"name": "discriminator"},
    ]
    cells = [spec_of(sampling={"name": "curate", "reward": r}) for r in rewards]
    found = [Names(cells).cell(c) for c in cells]
    assert len(set(found)) == 3 and all("curate" not in name for name in found), found


def test_sizes_and_arrival_are_said_where_they_vary() -> None:
    cells = [spec_of(n_real=n, arrival=a) for n in (100, 1000) for a in ("fixed", "fresh")]
    assert Names(cells).cell(cells[0]) == "n=100, fixed"
    drawn = [spec_of(n_synthetic=None), spec_of(n_synthetic=50)]
    assert [Names(drawn).cell(c) for c in drawn] == ["replace 1", "drawn=50"]


def test_values_that_people_write_alike_are_written_in_full() -> None:
    cells = [
        spec_of(policy={"name": "replace", "synthetic_fraction": f})
        for f in (0.12345678, 0.1234567)
    ]
    found = [Names(cells).cell(c) for c in cells]
    assert found == ["replace 0.12345678", "replace 0.1234567"]


def test_a_lineage_that_no_grid_knows_is_named_in_its_spelling() -> None:
    names = Names([spec_of(), spec_of(policy={"name": "accumulate"})])
    new = spec_of(policy={"name": "replace", "synthetic_fraction": 0.37}, seed=9)
    assert names.lineage(new) == "replace 0.37, seed 9" and names.workflow(new) == "replace"


FRACTIONS = st.floats(0, 1, allow_subnormal=False)
GENERATORS = st.one_of(
    st.builds(lambda h: {"name": "kde", "bandwidth": h}, st.floats(1e-6, 1e6)),
    st.builds(
        lambda **k: {"name": "vae", **k},
        latent=st.integers(1, 10**9),
        steps=st.integers(1, 10**9),
        lr=st.floats(1e-9, 1),
        conditional=st.booleans(),
    ),
    st.just({"name": "gaussian"}),
)
POLICIES = st.one_of(
    st.builds(lambda f: {"name": "replace", "synthetic_fraction": f}, FRACTIONS),
    st.builds(lambda f: {"name": "accumulate", "synthetic_fraction": f}, st.none() | FRACTIONS),
    st.builds(lambda k: {"name": "recent", "k": k}, st.integers(1, 10**6)),
    st.just({"name": "accumulate_subsample"}),
)
SAMPLINGS = st.one_of(
    st.just({"name": "plain"}),
    st.builds(lambda b: {"name": "biased", "sampling_bias": b}, FRACTIONS),
    st.builds(
        lambda r, d: {"name": "verify", "rule": "threshold", "radius": r, "delta": d},
        st.floats(1e-6, 1e6),
        st.floats(0, 1e6),
    ),
)
AXES = st.tuples(
    st.lists(GENERATORS, min_size=1, max_size=4),
    st.lists(POLICIES, min_size=1, max_size=4),
    st.lists(SAMPLINGS, min_size=1, max_size=3),
    st.lists(st.integers(1, 10**12), min_size=1, max_size=3),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(AXES)
@example(
    (
        [{"name": "kde", "bandwidth": 1.0}, {"name": "kde", "bandwidth": 0.75}],
        [{"name": "accumulate"}, {"name": "accumulate", "synthetic_fraction": 0.0}],
        [{"name": "plain"}],
        [1, 10],
    )
)
def test_names_are_short_and_tell_every_cell_and_workflow_of_a_grid_apart(axes: Any) -> None:
    grid = [
        spec_of(generator, policy, sampling, n_real=n, n_synthetic=10)
        for generator, policy, sampling, n in itertools.product(*axes)
    ]
    names = Names(grid)
    for key, name in (("cell_id", names.cell), ("workflow", names.workflow)):
        found = {getattr(spec, key): name(spec) for spec in grid}
        assert len(set(found.values())) == len(found), "two of one name"
        assert all(0 < len(said) <= LONGEST for said in found.values()), found
    turned = Names(grid[::-1])
    assert all(names.cell(spec) == turned.cell(spec) for spec in grid), (
        "the order of the grid changes no name"
    )


def test_cells_are_grouped_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "base: {dataset: gaussian, generator: gaussian, n_real: 10}\ngenerations: 1\nseeds: 2\n"
    sweep = sweep_of(text + "grid: {policy: [accumulate, replace]}\n", tmp_path)
    cells = by_cell(sweep.lineages)
    assert [len(members) for members in cells.values()] == [2, 2]
    assert [members[0].policy.name for members in cells.values()] == ["accumulate", "replace"]
