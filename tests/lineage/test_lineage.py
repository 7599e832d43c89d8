"""The loop: founders once, equal keys equal bits, longer, wider and richer sweeps, findings,
pruning, damage.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from analysis.frame.rows import from_store
from engine.lineage.generations import NotReproduced
from engine.lineage.loop import Lineage, Outcome
from engine.lineage.measure import gate
from engine.parts import Finding
from engine.spec import LineageSpec
from engine.status import Status
from engine.store import artifacts as archive
from engine.store.rows import LineageRow
from engine.store.store import Store
from tests.support.sweeps import GAUSSIAN, files, lineages, results, run, sweep_of


def test_founders_are_trained_once(tmp_path: Path) -> None:
    """3 policies x 4 fractions x 2 seeds: every distinct generation is fitted exactly once."""
    sweep = sweep_of(GAUSSIAN, tmp_path)
    assert len(sweep.lineages) == 24
    chains = run(sweep)
    distinct = {node.model for chain in chains for node in chain.path}
    founders = {chain.path[0].model for chain in chains}
    assert len(founders) == 2
    assert sum(chain.fits for chain in chains) == len(distinct) < 24 * 4


def test_shared_generations_are_counted_before_anything_runs(tmp_path: Path) -> None:
    chains = lineages(sweep_of(GAUSSIAN, tmp_path))
    asked = sum(len(chain.path) for chain in chains)
    distinct = len({node.model for chain in chains for node in chain.path})
    # per seed: 1 founder; 3 generations at fraction 0; replace and accumulate share generation 1 at
    # each of 3 fractions
    assert asked == 96 and distinct == 2 * (1 + 3 + 3 * (1 + 2 + 2) + 3 * 3)


def test_two_runs_are_bit_identical(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        run(sweep_of(GAUSSIAN, folder))
    assert files(first / "out") == files(second / "out")
    assert results(sweep_of(GAUSSIAN, first)) == results(sweep_of(GAUSSIAN, second))


def test_blocks_hold_the_same_rows_as_single_commits(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, seconds in ((first, 0), (second, 60)):
        folder.mkdir()
        run(sweep_of(GAUSSIAN, folder), seconds=seconds)
    assert list((second / "out" / "blocks").iterdir())
    assert results(sweep_of(GAUSSIAN, first)) == results(sweep_of(GAUSSIAN, second))


def test_the_same_command_again_trains_nothing(tmp_path: Path) -> None:
    sweep = sweep_of(GAUSSIAN, tmp_path)
    run(sweep)
    assert sum(chain.fits for chain in run(sweep)) == 0
    assert all(chain.complete() for chain in lineages(sweep))


def test_a_longer_sweep_runs_only_what_is_missing(tmp_path: Path) -> None:
    text = GAUSSIAN.replace("policy: [replace, accumulate, augment]", "policy: [replace]")
    run(sweep_of(text, tmp_path))
    longer = sweep_of(text, tmp_path, "generations=5")
    assert not any(chain.complete() for chain in lineages(longer))
    chains = run(longer)
    assert sum(chain.fits for chain in chains) == 8 * 2
    (whole := tmp_path / "whole").mkdir()
    run(sweep_of(text, whole, "generations=5"))
    assert results(longer) == results(sweep_of(text, whole, "generations=5"))


def test_a_wider_sweep_runs_only_what_is_missing(tmp_path: Path) -> None:
    run(sweep_of(GAUSSIAN, tmp_path, "grid.policy.synthetic_fraction=[0.0, 0.5]"))
    chains = run(sweep_of(GAUSSIAN, tmp_path))
    assert 0 < sum(chain.fits for chain in chains) == 2 * (2 * (1 + 2 + 2) + 2 * 3)


def test_a_richer_sweep_measures_without_retraining(tmp_path: Path) -> None:
    run(sweep_of(GAUSSIAN, tmp_path, "metrics=[]"))
    richer = sweep_of(GAUSSIAN, tmp_path)
    assert not any(chain.complete() for chain in lineages(richer))
    assert sum(chain.fits for chain in run(richer)) == 0
    assert all(chain.complete() for chain in lineages(richer))
    (direct := tmp_path / "direct").mkdir()
    run(sweep_of(GAUSSIAN, direct))
    assert results(richer) == results(sweep_of(GAUSSIAN, direct))


def test_a_richer_sweep_over_blocks_recomputes_what_it_needs(tmp_path: Path) -> None:
    run(sweep_of(GAUSSIAN, tmp_path, "metrics=[]"), seconds=60)
    run(richer := sweep_of(GAUSSIAN, tmp_path))
    (direct := tmp_path / "direct").mkdir()
    run(sweep_of(GAUSSIAN, direct))
    assert results(richer) == results(sweep_of(GAUSSIAN, direct))


def test_pruned_generations_come_back_bit_for_bit(tmp_path: Path) -> None:
    sweep = sweep_of(GAUSSIAN, tmp_path)
    run(sweep)
    before, store = files(tmp_path / "out"), Store(sweep.out)
    everything = {(row.kind, row.key) for row in store.rows()}
    assert store.prune(set(), everything) > 0
    assert all(name.endswith("strip.safetensors") for name in files(tmp_path / "out"))
    for chain in lineages(sweep):
        assert chain.complete(), "a row whose arrays were pruned is still a row"
        for t in range(sweep.generations + 1):
            chain.cache.samples(t)
            chain.cache.generator(t)
    assert files(tmp_path / "out") == before


def test_large_arrays_of_closed_forms_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1")
    run(sweep)
    clean = results(sweep)
    monkeypatch.setattr("engine.lineage.loop.LARGE_BYTES", 1)
    (lean := tmp_path / "lean").mkdir()
    sweep = sweep_of(GAUSSIAN, lean, "grid={}", "seeds=1")
    run(sweep)
    kept = [p.parent.name for p in (lean / "out" / "draws").rglob("samples.safetensors")]
    assert sorted(kept) == sorted(lineages(sweep)[0].path[t].draw for t in (0, 3))
    assert results(sweep) == clean and lineages(sweep)[0].complete()
    longer = sweep_of(GAUSSIAN, lean, "grid={}", "seeds=1", "generations=4")
    assert sum(chain.fits for chain in run(longer)) == 1


def test_damaged_files_are_found_named_and_made_again(tmp_path: Path) -> None:
    """Cut, empty and flip a bit of every kind of committed file, one after the other."""
    sweep = sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1")
    run(sweep)
    whole, clean = files(tmp_path / "out"), results(sweep)
    choose = random.Random(1)
    targets = [
        p
        for p in sorted((tmp_path / "out").rglob("*"))
        if p.is_file() and p.parts[-3] in ("models", "draws", "weights")
    ]
    targets += sorted((tmp_path / "out" / "models").rglob("weights/*"))
    for target in targets:
        for damage in ("cut", "empty", "flip"):
            data = bytearray(target.read_bytes())
            place = choose.randrange(len(data))
            data[place] ^= 1 << choose.randrange(8)
            target.write_bytes(
                {"cut": bytes(data[: len(data) // 2]), "empty": b"", "flip": bytes(data)}[damage]
            )
            named = list[str]()
            store = Store(sweep.out, on_damage=named.append)
            run(sweep, store)
            assert [n for n in named if n == target.relative_to(tmp_path / "out").as_posix()], (
                f"{damage} {target} not named"
            )
            assert results(sweep) == clean
            assert files(tmp_path / "out") == whole, f"{damage} of {target.name}"


def test_a_file_of_another_generation_is_not_believed(tmp_path: Path) -> None:
    sweep = sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1")
    run(sweep)
    whole = files(tmp_path / "out")
    old, new = (tmp_path / "out" / "draws" / node.draw for node in lineages(sweep)[0].path[1:3])
    for name in ("samples.safetensors", "row.json"):
        (new / name).write_bytes((old / name).read_bytes())
        run(sweep)
        assert files(tmp_path / "out") == whole


def test_what_comes_out_differently_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another library version or thread count must not be mixed in silently."""
    sweep = sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1")
    run(sweep)
    store = Store(sweep.out)
    store.prune(set(), {(row.kind, row.key) for row in store.rows()})
    real = archive.encode
    monkeypatch.setattr(archive, "encode", lambda samples: real(samples) + b" ")
    with pytest.raises(NotReproduced, match=r"generation 0.*same versions and thread count"):
        lineages(sweep)[0].cache.samples(2)


def test_a_diverged_generator_ends_the_lineage_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.generators.gaussian import Gaussian

    honest = Gaussian.fit

    def diverging(self: Gaussian, data: object, rng: np.random.Generator) -> dict[str, float]:
        if (data.born == 0).any():  # type: ignore[attr-defined]
            raise Finding("diverged", "the loss is nan at step 7")
        return honest(self, data, rng)  # type: ignore[arg-type]

    monkeypatch.setattr(Gaussian, "fit", diverging)
    chain = run(sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1"))[0]
    assert chain.outcome == Outcome(Status.DIVERGED, "the loss is nan at step 7", 1)
    rows = chain.rows()
    assert [r.status for r in rows] == ["ok", "diverged"] and rows[1].draw is None
    assert chain.complete(), "a finding is an outcome"


def test_samples_that_are_not_finite_end_the_lineage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.generators.gaussian import Gaussian

    honest = Gaussian.sample

    def broken(self: Gaussian, n: int, rng: np.random.Generator, **more: object) -> object:
        drawn = honest(self, n, rng)
        drawn.x[3, 1, 0] = np.nan
        return drawn

    monkeypatch.setattr(
        Gaussian, "sample", lambda self, n, rng, labels=None, bias=None: broken(self, n, rng)
    )
    chain = run(sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1"))[0]
    assert chain.outcome.status == "diverged" and "1 of 180 sampled values" in chain.outcome.reason
    assert chain.rows()[0].values == {}, "a metric was computed from values that are not finite"


def test_constant_samples_end_the_lineage_but_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.generators.gaussian import Gaussian
    from engine.samples import Samples

    same = lambda self, n, rng, labels=None, bias=None: Samples(np.ones((n, 3, 2)))  # noqa: E731
    monkeypatch.setattr(Gaussian, "sample", same)
    chain = run(sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1"))[0]
    assert chain.outcome == Outcome(Status.CONSTANT, "all 30 samples are equal", 0)
    last = chain.rows()[-1]
    assert last.values or last.undefined, "what is there can be measured"


def test_fresh_real_data_arrive_every_generation(tmp_path: Path) -> None:
    fixed, fresh = (
        lineages(sweep_of(GAUSSIAN, tmp_path, "grid={}", f"base.arrival={a}"))[0]
        for a in ("fixed", "fresh")
    )
    assert (fixed.cache.real(0).x == fixed.cache.real(2).x).all()
    assert (fresh.cache.real(0).x == fixed.cache.real(0).x).all()
    assert (fresh.cache.real(0).x != fresh.cache.real(2).x).any()
    assert (
        fixed.path[0].model == fresh.path[0].model and len({node.real for node in fresh.path}) == 4
    )


def test_identity_is_apart_from_extent(tmp_path: Path) -> None:
    here = sweep_of(GAUSSIAN, tmp_path).lineages
    longer = sweep_of(GAUSSIAN, tmp_path, "generations=9", "metrics=[]", "keep=last").lineages
    assert [s.id for s in here] == [s.id for s in longer]
    assert len({s.id for s in here}) == len(here)
    assert all(LineageSpec.from_dict(s.to_dict()).id == s.id for s in here)


def test_a_default_spelled_out_is_the_same_lineage(tmp_path: Path) -> None:
    plain = sweep_of(GAUSSIAN, tmp_path, "grid={}").lineages[0]
    spelled = sweep_of(
        GAUSSIAN, tmp_path, "grid={}", "base.policy={name: replace, synthetic_fraction: 1.0}"
    ).lineages[0]
    other = sweep_of(
        GAUSSIAN, tmp_path, "grid={}", "base.policy={name: replace, synthetic_fraction: 0.9}"
    ).lineages[0]
    assert plain.id == spelled.id != other.id


def test_any_fsspec_url_is_a_store(tmp_path: Path) -> None:
    sweep = sweep_of(GAUSSIAN, tmp_path, "seeds=1")
    run(sweep)
    elsewhere = Store("memory://test_any_fsspec_url")
    run(sweep, elsewhere)
    assert results(sweep, elsewhere) == results(sweep)
    assert sum(chain.fits for chain in run(sweep, elsewhere)) == 0
    assert elsewhere.verify()[1] == []


def test_the_film_strip_uses_the_same_latents_every_generation(tmp_path: Path) -> None:
    chain = lineages(sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1"))[0]
    while not chain.done:
        chain.advance()
    rows = [chain.store.row("draw", node.draw) for node in chain.path]
    strips = [archive.read_strip(chain.store, row) for row in rows if row]
    assert [s.x.shape for s in strips if s] == [(30, 1, 2)] * 4
    assert os.path.exists(tmp_path / "out" / "lineages" / f"{chain.spec.id}.json")


def test_a_lineage_waits_for_a_key_that_another_process_makes(tmp_path: Path) -> None:
    """Two processes on one store: every key is made by one of them, and the rows are those of a
    single run.
    """
    import subprocess
    import sys

    sweep = sweep_of(GAUSSIAN, tmp_path, "generations=6")
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from tests.support.sweeps import *\n"
        "from pathlib import Path\n"
        "fits = sum(c.fits for c in run(sweep_of(GAUSSIAN, Path(sys.argv[1]), 'generations=6')))\n"
        "print(fits)"
    )
    here = str(Path(__file__).parents[2])
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), here], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    fits = [int(p.communicate(timeout=120)[0]) for p in both]
    chains: list[Lineage] = lineages(sweep)
    assert sum(fits) == len({node.model for chain in chains for node in chain.path})
    assert all(chain.complete() for chain in chains)


def test_large_sets_live_in_mapped_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit the accumulated set and the old draws are views of files; the rows and files
    are the same.
    """
    text = GAUSSIAN.replace("seeds: 2", "seeds: 1").replace(
        "[replace, accumulate, augment]", "[accumulate]"
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain, large = sweep_of(text, tmp_path / "a"), sweep_of(text, tmp_path / "b")
    run(plain)
    for module in ("samples", "store.artifacts", "lineage.generations"):
        monkeypatch.setattr(f"engine.{module}.MAPPED_BYTES", 1)
    chain = run(large)[-1]
    assert isinstance(chain.cache.training_set(chain.path[-1]).x, np.memmap)
    assert isinstance(chain.cache.samples(1).x, np.memmap) or isinstance(
        chain.cache.samples(1).x.base, np.memmap
    )
    assert results(plain) == results(large) and files(Path(plain.out)) == files(Path(large.out))


def test_a_lineage_of_a_part_that_is_not_here_is_not_damaged(tmp_path: Path) -> None:
    """Another installation may lack a part, or give it other defaults: its files are whole all the
    same.
    """
    store = Store(str(tmp_path / "out"))
    row = LineageRow("0123456789abcdef", {"generator": {"name": "elsewhere"}}, "", ())
    store.write_lineage(row)
    assert store.lineage("0123456789abcdef") == row and list(store.lineages()) == [row]
    assert row.known_spec() is None and from_store(store.url).empty
    store.write_json(store.path("lineages", "fedcba9876543210.json"), row.to_json())
    assert store.lineage("fedcba9876543210") is None and store.verify()[1] == []


def test_a_draw_that_lost_a_class_says_which_and_ends_nothing(tmp_path: Path) -> None:
    text = GAUSSIAN.replace("{name: gaussian, d: 2, replicates: 3}", "{name: mixture, modes: 3}")
    text = text.replace("generator: gaussian", "generator: vae")
    chain = lineages(sweep_of(text, tmp_path, "grid={}", "seeds=1", "metrics=[]"))[0]
    real = chain.cache.real(0)
    assert real.y is not None and set(real.y) == {0, 1, 2}
    assert gate(real, real) == (Status.OK, "")
    lost = gate(real.take(np.flatnonzero(real.y != 1)), real)
    assert lost == (Status.CLASS_EXTINCT, "no samples of class 1")
    assert not lost[0].ends and not lost[0].absorbing and lost[0].measurable


@pytest.mark.parametrize("policy", ["replace", "accumulate"])  # which keeps all draws at hand
@pytest.mark.parametrize("together", [True, False])
def test_of_generations_committed_together_the_first_and_the_last_have_arrays(
    together: bool, policy: str, tmp_path: Path
) -> None:
    sweep = sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1", f"base.policy={policy}")
    store = Store(sweep.out)
    chain = Lineage(sweep.lineages[0], store, generations=sweep.generations)
    batches = (3,) if together else (1, 1, 1)  # and one more generation is to come
    for most in batches:
        chain.advance_for(60.0, most=most)
    rows = [store.row("draw", node.draw) for node in chain.path[:3]]
    kept = [row is not None and archive.SAMPLES in row.files for row in rows]
    assert kept == ([True, False, True] if together else [True, True, True])
