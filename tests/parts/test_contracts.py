"""One contract per kind of part, run on every member by its file name: the rules of
`ouro parts check`.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.contracts import companions
from engine.contracts.check import check
from engine.contracts.companions import N as N
from engine.contracts.companions import accepted, constant
from engine.contracts.verdicts import same
from engine.lineage.recipe import rng
from engine.parts import declared
from engine.registry import KINDS, describe, make, names
from engine.samples import given


def dataset_for(accepts: tuple[str, ...]) -> Any:
    """A small data set that gives what a part accepts; the first kind listed."""
    return companions.dataset_for(accepts[0])


def untrained(metric: str, gives: str) -> dict[str, str]:
    """The extractor of a metric, if it has any, that needs no network."""
    if "extractor" not in describe("metric", metric).parameters:
        return {}
    return {"extractor": "ngrams" if gives == "text" else "raw"}


TRIED = {"dataset": "draws", "generator": "load is", "policy": "fills", "sampling": "draws exactly"}
TRIED |= {"reward": "scores every", "metric": "its keys"}


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in KINDS for n in names(k)])
def test_every_rule_of_its_kind_holds(kind: str, name: str) -> None:
    found = check(kind, name)
    assert not [str(verdict) for verdict in found if verdict.fault]
    if not any(verdict.rule.startswith(TRIED[kind]) for verdict in found):
        pytest.skip(f"{name} is not on this machine")


@pytest.mark.parametrize(
    "name", [n for n in names("generator") if constant("generator", n, "CONTINUES")]
)
def test_a_generator_that_continues_goes_on_from_what_it_has_learnt(name: str) -> None:
    dataset = dataset_for((accepted("generator", name)[0],))
    real = dataset.sample(N, rng(0, "real"))
    params = constant("generator", name, "TINY")
    switch = constant("generator", name, "CONTINUES")
    drawn = []
    for continues, fits in ((True, 2), (False, 2), (False, 1)):
        if switch is True and not continues and fits == 2:
            continue  # no parameter switches it off
        own = {} if switch is True else {switch: continues}
        generator = make("generator", name, **params, **own)
        for t in range(2 - fits, 2):
            generator.fit(real, rng(0, "fit", t))
        labels = given(real, 20) if declared(generator, "CONDITIONAL") else None
        drawn.append(generator.sample(20, rng(0, "draw"), labels))
    assert not same(drawn[0], drawn[1]), "the first generation has left no trace"
    assert same(drawn[1], drawn[-1]), "without it, a second fit starts anew"
