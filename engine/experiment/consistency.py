"""Whether a cell makes sense, and whether the settings of a file fit the rest of it: what its grid
holds and what it measures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from engine import _few_rows as few_rows
from engine._descriptions import is_declared, keys_of
from engine._tasks import of_key
from engine.contents import Contents
from engine.experiment.grid import Tell, Where
from engine.experiment.streams import forgotten
from engine.experiment.streams import refusal as unlike_a_stream
from engine.experiment.values import nearest
from engine.generators._pretrained import place_of, require_room
from engine.knowledge import Limits
from engine.lineage.recipe import path as plan_path
from engine.refusals import misshapen
from engine.refusals import refusals as impossible
from engine.registry import describe, key_of, make, names
from engine.seams.seam import WrongAnswer
from engine.settings import LEAST_SHARE, CollapseRule, Resources, Share
from engine.spec import LineageSpec, MeasureSpec, Part, Sweep
from engine.store.keys import FLOORS, REPLICATES

# what may end the key of a number that stands beside another one's
BESIDES = re.compile(f"/({'|'.join((*REPLICATES, *FLOORS, 'n'))})$|_({'|'.join(FLOORS)}|n)$")


def refusal(spec: LineageSpec, generations: int) -> str | None:
    """Why a cell makes no sense, or None."""
    try:
        for part in (spec.dataset, spec.generator, spec.sampling):
            if reason := _unmade(part):
                return reason
        if reason := _beyond(spec):
            return reason
        _require_base(spec)
        if reasons := impossible(spec.dataset, spec.generator, spec.sampling):
            return "; ".join(reasons)
        if spec.arrival == "parts" and "parts" not in spec.dataset.trait("KNOWS"):
            return (
                f"arrival parts is for finite data, and {spec.dataset.name} is drawn without end; "
                "there arrival fresh gives other rows in each generation"
            )
        if reason := unlike_a_stream(spec, generations):
            return reason
        parts = spec.parts_until(generations)
        if spec.tasks is None and (reason := spec.dataset.too_few(spec.n_real, parts)):
            return reason
        found = spec.dataset.contents
        if isinstance(found, Contents) and (why := misshapen(spec.generator, found.shape)):
            return why
        if reason := few_rows.refusal(spec):
            return reason
        far = 500 if spec.policy.source else 3  # generations: nobody has tried one's own policy
        if reason := forgotten(spec, plan_path(spec, min(generations, far))):
            return reason
    except (ValueError, TypeError, WrongAnswer) as error:
        return str(error)
    return None


def _unmade(part: Part) -> str:
    """Why a part of the engine cannot be made with its parameters, or ''; of generators only the
    closed forms are tried, others would import torch.
    """
    if part.source or part.command_lines:
        return ""
    if part.kind == "generator" and part.trait("COST") != "tiny":
        return ""
    return _unmade_of(part.kind, part.name, json.dumps(part.params))


def _beyond(spec: LineageSpec) -> str:
    """Why a closed form cannot learn such data, as it tells; or ''."""
    if "limits" not in spec.generator.trait("KNOWS"):
        return ""
    own: Limits = spec.generator.made
    return own.beyond(spec.dataset.traits)


def _require_base(spec: LineageSpec) -> None:
    """ValueError where a pretrained language model of a generator cannot be read, or is too small
    for the data; nothing where it is not on this computer.
    """
    switch = spec.generator.constant("TOKENIZER")
    folder = spec.generator.params.get(switch) if switch else None
    if folder is not None and (place := place_of(folder)).exists():
        length = spec.dataset.trait("LENGTH")
        require_room(place, spec.dataset.traits.vocabulary, length)


@lru_cache(maxsize=4096)
def _unmade_of(kind: str, name: str, params: str) -> str:
    try:
        make(kind, name, **json.loads(params))
    except (ValueError, TypeError) as error:
        return str(error)
    return ""


def affordable(asked: Resources, used: Collection[str], tell: Tell) -> None:
    """Resources of no machine or of generators that are not there, prices the wrong way round or of
    two things.
    """
    known = names("generator")
    _possible(asked, (), tell)
    for name, own in asked.generators.items():
        _possible(own, ("generators", name), tell)
        if name not in known:
            message = f"no generator {name!r}{nearest(name, known)}; there are: {', '.join(known)}"
            tell(message, ("resources", "generators", name))
    if asked.price_per_hour and len(_priced(asked, used)) > 1:
        message = (
            "this would be the price of a GPU's hour and of a CPU's; give it under "
            "generators, to each its own"
        )
        tell(message, ("resources", "price_per_hour"))


def _possible(share: Share, where: Where, tell: Tell) -> None:
    """A price whose lower end is the higher one, GPUs that cannot be had."""
    if 0 < share.gpus < LEAST_SHARE or (share.gpus > 1 and share.gpus % 1):
        message = f"gpu should be 0, a part of one from {LEAST_SHARE} on, or whole GPUs, got "
        tell(f"{message}{share.gpus:g}", ("resources", *where, "gpu"))
    price = share.price_per_hour
    if price and price[0] > price[1]:
        message = f"a price is the lowest and the highest, got {price[0]:g} and {price[1]:g}"
        tell(message, ("resources", *where, "price_per_hour"))


def _priced(asked: Resources, used: Collection[str]) -> set[str]:
    """What the common price would be a price of."""
    without = [name for name in used if asked.generators.get(name, Share()).price_per_hour is None]
    return {"GPU" if asked.of(name).gpus else "CPU" for name in without}


def judgeable(
    rule: CollapseRule, metrics: Sequence[MeasureSpec], tell: Tell, *, kept: bool = False
) -> None:
    """A collapse rule about metrics that are not measured, without a bound, or that compares as the
    metric has no meaning.

    kept: by an output; versions that had no `by` took ratios of everything.
    """
    if problem := _unmeasured(rule.metric, metrics):
        tell(f"collapse is judged by {rule.metric!r}, {problem}", ("collapse", "metric"))
    if (rule.above is None) == (rule.below is None):
        message = "collapse needs one of above and below (times the value of generation 0)"
        tell(message, ("collapse",))
    elif rule.by is not None or not kept:
        _comparing(rule, metrics, tell)
    more = rule.absorbing
    if more is None:
        return
    if (more.metric is None) != (more.below is None):
        tell("absorbing needs metric and below together, or neither", ("collapse", "absorbing"))
    if more.metric is not None and (problem := _unmeasured(more.metric, metrics)):
        tell(f"absorbing watches {more.metric!r}, {problem}", ("collapse", "absorbing", "metric"))


def _comparing(rule: CollapseRule, metrics: Sequence[MeasureSpec], tell: Tell) -> None:
    """A rule that compares its metric in another way than the metric declares (BY), or a difference
    from nothing that was measured.
    """
    where = ("collapse", "by") if rule.by is not None else ("collapse",)
    if rule.of == "one":
        if not rule.is_ratio:
            said = "by: difference compares with a value that was measured, and of: one is none; "
            tell(f"{said}leave out by, to compare the value itself, or of (generation 0)", where)
        return
    key = next((m.headline(None) for m in metrics if m.id == rule.metric), rule.metric)
    known = key_of(key)
    if known is None or known.by in ("", "ratio" if rule.is_ratio else "difference"):
        return
    side, unit = ("below" if rule.above is None else "above"), known.unit
    if known.by == "difference":
        said = f"{rule.metric} is in {unit}, whose zero is no origin, so that ratios of it mean "
        own = f"nothing; write by: difference, and {side} in {unit}"
    else:
        said = f"{rule.metric} is in {unit}, which other data do not share, so that differences of "
        own = f"it are not comparable; write by: ratio, and {side} as a multiple of the reference"
    tell(said + own, where)


def comparable(sweep: Sweep, tell: Tell) -> None:
    """A metric's n that not every cell has, or that means nothing; a rule about a task that never
    arrives.
    """
    _arriving(sweep, tell)
    for i, metric in enumerate(sweep.metrics):
        if metric.n is None:
            continue
        have = sweep.fewest.get(metric.id)
        if have is None:
            said = f"values of {metric.id} do not depend on how many samples there are; leave n out"
            tell(said, ("metrics", i, "n"))
        elif metric.n > have:
            message = (
                f"{metric.id} is to compare n {metric.n:,} samples of each generation, and "
                f"not every cell has more than {have:,} to compare (of those drawn or held out); "
                "leave n out, or lower it"
            )
            tell(message, ("metrics", i, "n"))


def _arriving(sweep: Sweep, tell: Tell) -> None:
    """A collapse rule about a task that never arrives."""
    rule = sweep.collapse
    if rule is None:
        return
    for key, where in ((rule.metric, "metric"), (rule.watched, "absorbing")):
        task = None if key is None else of_key(key)
        if task is None:
            continue
        fewest = min((len(spec.stream) for spec in sweep.lineages), default=0)
        last = min(fewest - 1, sweep.generations)
        if task > last:
            have = f"of tasks 0 to {last}" if fewest else "none: give arrival: tasks, and tasks"
            message = f"{key} is of task {task}, and this sweep has rows {have}"
            tell(message, ("collapse", where))


def by_keys(rule: CollapseRule, metrics: Sequence[MeasureSpec], kind: str | None) -> CollapseRule:
    """The rule with the key that stands for a metric where it names the metric alone.

    kind: of the data, see `Sweep.kind`.
    """
    keys = {metric.id: metric.headline(kind) for metric in metrics}
    more = rule.absorbing
    if more is not None and more.metric in keys:
        more = more.model_copy(update={"metric": keys[more.metric]})
    metric = keys.get(rule.metric, rule.metric)
    return rule.model_copy(update={"metric": metric, "absorbing": more})


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
    if not known or key == id_ or is_declared(own, known):
        return ""
    if BESIDES.search(own):
        beside = BESIDES.sub("", key)
        return f"which stands beside the numbers of {beside} and is none to judge by; name {beside}"
    names = [id_ + each.name.removeprefix(parts[id_].name) for each in known]
    return f"which {id_} does not return{nearest(key, names)}; its keys: {', '.join(names)}"
