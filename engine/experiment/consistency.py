"""Whether the settings of a file fit the rest of it: what its grid holds and what it measures."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from engine.experiment.grid import Tell, Where
from engine.experiment.values import nearest
from engine.registry import names
from engine.settings import CollapseRule, Resources, Share


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


def judgeable(rule: CollapseRule, ids: Sequence[str], tell: Tell) -> None:
    """A collapse rule about metrics that are not measured, or without a bound."""
    listed = ", ".join(ids)
    if not _measured(rule.metric, ids):
        near = nearest(_id(rule.metric), ids)
        message = f"collapse is judged by {rule.metric!r}, which is not measured{near}"
        tell(f"{message}; metrics: {listed}", ("collapse", "metric"))
    if (rule.above is None) == (rule.below is None):
        message = "collapse needs one of above and below (times the value of generation 0)"
        tell(message, ("collapse",))
    more = rule.absorbing
    if more is None:
        return
    if (more.metric is None) != (more.below is None):
        tell("absorbing needs metric and below together, or neither", ("collapse", "absorbing"))
    if more.metric is not None and not _measured(more.metric, ids):
        message = f"{more.metric!r} is not measured; metrics: {listed}"
        tell(message, ("collapse", "absorbing", "metric"))


def _measured(key: str, ids: Sequence[str]) -> bool:
    """Whether a key belongs to a metric of the file; without metrics, the reader tells that."""
    return not ids or _id(key) in ids


def _id(key: str) -> str:
    """The metric of a key: moments of moments/kl."""
    return key.split("/")[0]
