"""Contracts of policies."""

from __future__ import annotations

from engine.contracts.companions import tiny
from engine.contracts.verdicts import Tried, require
from engine.lineage.recipe import of_task
from engine.parts import Recipe, declared

N_REAL = 100
GENERATIONS = 5


def try_policy(tried: Tried) -> None:
    """Ask a policy for the recipes of some generations, given what it says it needs."""
    policy, sizes = tiny("policy", tried.name), {-1: N_REAL}
    tasks = declared(policy, "TASKS")
    with tried.rule("says how many samples it needs", "needs", "return a whole number", vital=True):
        needs = policy.needs(N_REAL)
    with tried.rule("fills every recipe from what it said it needs", "recipe", "see Policy.recipe"):
        for t in range(1, GENERATIONS + 1):
            sizes[t - 1] = max(N_REAL, needs) * (t if tasks else 1)
            if tasks:
                sizes[of_task(t - 1)] = N_REAL
            _require_filled(policy.recipe(dict(sizes), t), sizes, t)
    with tried.rule("the same sizes give the same recipe", "recipe", "keep no state"):
        again = tiny("policy", tried.name)
        for t in range(1, GENERATIONS + 1):
            before = {source: n for source, n in sizes.items() if source < t}
            require(policy.recipe(before, t) == again.recipe(before, t), f"generation {t} differs")
    with tried.rule("leaves the sizes as they were", "recipe", "work on a copy"):
        given = dict(sizes)
        policy.recipe(given, GENERATIONS)
        require(given == sizes, "the mapping of sizes was written to")


def _require_filled(recipe: Recipe, sizes: dict[int, int], t: int) -> None:
    """Broken unless the sources hold as many rows as generation t picks."""
    for pick in recipe:
        have = sum(sizes[source] for source in pick.sources)
        fits = pick.how != "without_replacement" or pick.count <= have
        require(fits, f"generation {t} picks {pick.count} rows of sources that hold {have}")
    picks = sum(pick.count or pick.per_class for pick in recipe)
    require(picks > 0, f"generation {t} has nothing to train on")
