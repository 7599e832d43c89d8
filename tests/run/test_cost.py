"""The forecast of `ouro plan` by exact numbers: declared, measured, priced; and mistakes in what is
declared.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.console.tables import plan_lines
from engine.experiment.reader import SpecError
from engine.planning.cost import Cost, Lack, forecast
from engine.planning.plan import make_plan
from engine.settings import Share
from engine.store.store import Store
from tests.support.ouro import ouro
from tests.support.sweeps import sweep_of

SWEEP = """
base: {dataset: {name: gaussian, replicates: 3}, n_real: 30}
grid:
  generator: [gaussian, kde]
seeds: 2
generations: 4
"""


def plan_of(resources: str, folder: Path):
    sweep = sweep_of(SWEEP + f"resources: {resources}\n", folder)
    return make_plan(sweep, Store(sweep.out), 4), sweep


def test_declared_hours_bytes_and_prices_add_up(tmp_path: Path) -> None:
    """Two generators with two seeds and five generations each: ten of each are missing."""
    of_kde = (
        "kde: {cpu: 2, gpu: 0.25, hours_per_generation: 0.8, price_per_hour: [1, 3], "
        "gb_per_generation: 0.5}"
    )
    common = (
        "cpu: 1, hours_per_generation: 0.1, price_per_hour: [0.04, 0.05], gb_per_generation: 0.002"
    )
    plan, sweep = plan_of(f"{{{common}, generators: {{{of_kde}}}}}", tmp_path)
    assert plan.missing == 20 and plan.workers == 2  # four CPUs, two for a lineage of kde
    assert plan.gpu_hours == pytest.approx(10 * 0.8 * 0.25) and plan.cpu_hours == pytest.approx(
        10 * 0.1 + 10 * 0.8 * 2
    )
    assert plan.bytes == 10 * 2_000_000 + 10 * 500_000_000
    assert plan.seconds == pytest.approx((10 * 0.1 + 10 * 0.8) * 3600 / 2)
    assert plan.price == pytest.approx((10 * 0.1 * 0.04 + 2.0 * 1, 10 * 0.1 * 0.05 + 2.0 * 3))
    told = dict(plan_lines(plan, sweep))
    assert told["cost"] == "2 GPU-hours, 2.04 to 6.05 USD (a generation's hours are declared)"
    assert "about 4 h 30 min on 2 workers, about 5.02 GB of disk" in told["to compute"]


def test_what_one_generator_lacks_is_not_guessed(tmp_path: Path) -> None:
    plan, sweep = plan_of(
        "{generators: {kde: {hours_per_generation: 1, price_per_hour: [1, 2]}}}", tmp_path
    )
    assert (plan.seconds, plan.bytes, plan.cpu_hours, plan.price) == (None, None, None, None)
    assert "cost" not in dict(plan_lines(plan, sweep))


def test_rows_count_more_than_what_is_declared(tmp_path: Path) -> None:
    declared = {
        "hours_per_generation": 100.0,
        "gb_per_generation": 100.0,
        "price_per_hour": (2.0, 4.0),
    }
    gpu, cpu = Share(cpu=4, gpu=0.5, **declared), Share(cpu=2.0, **declared)
    ahead = forecast([Lack(6, [Cost(3600.0, 10), Cost(7200.0, 20)], gpu)])
    assert (ahead.seconds, ahead.bytes, ahead.gpu_hours, ahead.cpu_hours) == (
        6 * 5400.0,
        90,
        4.5,
        36.0,
    )
    assert ahead.price == (9.0, 18.0) and ahead.basis == "measured"
    both = forecast([Lack(6, [Cost(3600.0, 10)], gpu), Lack(1, [], cpu)])
    assert both.basis == "declared and measured" and both.price == (
        6 * 0.5 * 2 + 100 * 2 * 2,
        6 * 0.5 * 4 + 100 * 2 * 4,
    )
    nothing = forecast([Lack(0, [], Share(cpu=2.0))])
    assert (nothing.seconds, nothing.bytes, nothing.price) == (0.0, 0, None)


def test_a_measured_plan_is_for_machines_too(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        SWEEP + "resources: {price_per_hour: [0.05, 0.05]}\ntracking: none\n"
    )
    assert ouro("run", "sweep.yaml", "--local", cwd=tmp_path).returncode == 0
    plan = json.loads(ouro("plan", "sweep.yaml", "--json", "--set", "seeds=3", cwd=tmp_path).stdout)
    assert plan["missing"] == 10 and plan["basis"] == "measured" and plan["bytes"] > 0
    assert plan["price"] == pytest.approx([plan["cpu_hours"] * 0.05] * 2) and plan["gpu_hours"] == 0


def test_cost_is_in_no_id(tmp_path: Path) -> None:
    (_, one), (_, other) = (
        plan_of("{price_per_hour: [1, 2]}", tmp_path),
        plan_of("{hours_per_generation: 3}", tmp_path),
    )
    assert one.lineages == other.lineages and [s.id for s in one.lineages] == [
        s.id for s in other.lineages
    ]
    assert one.resources_of(one.lineages[0]).cpus == 1


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (
            "{price_per_hour: [3, 1]}",
            "resources.price_per_hour: a price is the lowest and the highest, got 3 and 1",
        ),
        ("{price_per_hour: 3}", "resources.price_per_hour: should be a valid array, got 3"),
        ("{price_per_hour: [1]}", "price_per_hour"),
        ("{price_per_hour: [-1, 2]}", "should be greater than or equal to 0, got -1"),
        ("{hours_per_generation: 0}", "hours_per_generation: should be greater than 0, got 0"),
        ("{gb_per_generation: -1}", "gb_per_generation"),
        ("{hours_per_generaton: 1}", "unknown key 'hours_per_generaton'"),
        ("{generators: {kdee: {cpu: 2}}}", "no generator 'kdee' (did you mean 'kde'?)"),
        (
            "{generators: {kde: {price_per_hour: [2, 1]}}}",
            "resources.generators.kde.price_per_hour",
        ),
        (
            "{price_per_hour: [1, 2], generators: {kde: {gpu: 1}}}",
            "the price of a GPU's hour and of a CPU's",
        ),
    ],
)
def test_a_mistake_in_what_is_declared_is_named(resources: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        plan_of(resources, tmp_path)
    assert any(said in str(p) for p in caught.value.problems), caught.value


def test_a_price_of_its_own_for_each_is_no_mistake(tmp_path: Path) -> None:
    plan, _ = plan_of(
        "{price_per_hour: [1, 2], generators: {kde: {gpu: 1, price_per_hour: [3, 4]}}}", tmp_path
    )
    assert plan.price is None  # no hours yet
