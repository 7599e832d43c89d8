"""Whether the settings of a file fit the rest of it: what its grid holds and what it measures."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from engine._descriptions import is_declared, keys_of
from engine.experiment.grid import Tell, Where
from engine.experiment.values import nearest
from engine.registry import describe, names
from engine.settings import CollapseRule, Resources, Share
from engine.spec import MeasureSpec
from engine.store.keys import FLOORS, REPLICATES

# what may end the key of a number that stands beside another one's
BESIDES = re.compile(f"/({'|'.join((*REPLICATES, *FLOORS, 'n'))})$|_({'|'.join(FLOORS)})$")


def affordable(asked: Resources, used: Collection[str], tell: Tell) -> None:
    """Resources of generators that are not there, prices the wrong way round or of two things."""
    known = names("generator")
    _ordered(asked, (), tell)
    for name, own in asked.generators.items():
        _ordered(own, ("generators", name), tell)
        if name not in known:
            message = f"no generator {name!r}{nearest(name, known)}; there are: {', '.join(known)}"
            tell(message, ("resources", "generators", name))
    if asked.price_per_hour and len(_priced(asked, used)) > 1:
        message = (
            "this would be the price of a GPU's hour and of a CPU's; give it under "
            "generators, to each its own"
        )
        tell(message, ("resources", "price_per_hour"))


def _ordered(share: Share, where: Where, tell: Tell) -> None:
    """A price whose lower end is the higher one."""
    price = share.price_per_hour
    if price and price[0] > price[1]:
        message = f"a price is the lowest and the highest, got {price[0]:g} and {price[1]:g}"
        tell(message, ("resources", *where, "price_per_hour"))


def _priced(asked: Resources, used: Collection[str]) -> set[str]:
    """What the common price would be a price of."""
    without = [name for name in used if asked.generators.get(name, Share()).price_per_hour is None]
    return {"GPU" if asked.of(name).gpus else "CPU" for name in without}


def judgeable(rule: CollapseRule, metrics: Sequence[MeasureSpec], tell: Tell) -> None:
    """A collapse rule about metrics that are not measured, or without a bound."""
    if problem := _unmeasured(rule.metric, metrics):
        tell(f"collapse is judged by {rule.metric!r}, {problem}", ("collapse", "metric"))
    if (rule.above is None) == (rule.below is None):
        message = "collapse needs one of above and below (times the value of generation 0)"
        tell(message, ("collapse",))
    more = rule.absorbing
    if more is None:
        return
    if (more.metric is None) != (more.below is None):
        tell("absorbing needs metric and below together, or neither", ("collapse", "absorbing"))
    if more.metric is not None and (problem := _unmeasured(more.metric, metrics)):
        tell(f"absorbing watches {more.metric!r}, {problem}", ("collapse", "absorbing", "metric"))


def _unmeasured(key: str, metrics: Sequence[MeasureSpec]) -> str:
    """Why no row of the sweep has a key, or ''; without metrics, the reader tells that."""
    id_ = key.split("/")[0]  # moments of moments/kl
    parts = {metric.id: metric.part for metric in metrics}
    if not parts:
        return ""
    if id_ not in parts:
        return f"which is not measured{nearest(id_, parts)}; metrics: {', '.join(parts)}"
    known = keys_of(describe("metric", parts[id_].name))
    own = parts[id_].name + key.removeprefix(id_)
    if not known or key == id_ or is_declared(BESIDES.sub("", own), known):
        return ""
    names = [id_ + each.name.removeprefix(parts[id_].name) for each in known]
    return f"which {id_} does not return{nearest(key, names)}; its keys: {', '.join(names)}"
