"""Whether a stream of tasks makes sense: its data, its classes, and the parts that go with it."""

from __future__ import annotations

import numpy as np

from engine import _tasks
from engine.contents import Contents
from engine.knowledge import OF_DATA
from engine.lineage.recipe import Node
from engine.parts import Params
from engine.registry import describe
from engine.samples import proportional_counts
from engine.spec import LineageSpec

EXAMPLE = "arrival: tasks with tasks: 5, or tasks: [[0, 1], [2, 3]]"


def refusal(spec: LineageSpec, generations: int) -> str:
    """Why a cell makes no sense as a stream of tasks, or without one; or ''."""
    if spec.arrival != "tasks":
        return _without_tasks(spec)
    if spec.tasks is None:
        return "arrival tasks needs the tasks: tasks: 5, or the classes of each, [[0, 1], [2, 3]]"
    kind, name, classes = spec.dataset.constant("GIVES"), spec.dataset.name, spec.classes
    if kind == "regression":
        return f"tasks are groups of classes, and {name} gives regression, which has none"
    if classes == 0:
        return f"tasks are groups of classes, and the data set {name} has no class labels"
    if classes is None:
        return (
            f"the classes of {name} are known once its data are read, and they are not here; put "
            "them in place, so that its tasks can be planned"
        )
    if spec.sampling.has("TASKS") and not spec.generator.conditional:
        return (
            f"the sampling {spec.sampling.label} asks each model for the classes of its own task, "
            f"and the generator {spec.generator.name} is not conditional on labels"
        )
    if why := _misjudged(spec.sampling.name, spec.sampling.params, spec):
        return why
    if spec.sampling.has("PROMPTS"):
        return (
            f"the sampling {spec.sampling.label} goes on from real texts, and of a stream of tasks "
            "those of earlier tasks are no longer at hand; leave prompt out"
        )
    found = _tasks.refusal(spec.tasks, name, classes, generations, spec.n_real)
    return found or _too_few(spec, generations)


def _misjudged(name: str, params: Params, spec: LineageSpec) -> str:
    """Why a sampling's judge does not know the tasks that are to come, or ''."""
    reward, inner = params.get("reward"), params.get("sampling")
    if isinstance(reward, dict):
        asked = describe("reward", reward["name"]).trait("NEEDS", reward)
        words = [word.removeprefix("data.") for need in asked for word in need.split("|")]
        if told := [word for word in words if word in OF_DATA]:
            return (
                f"{name}: the reward {reward['name']} needs the {told[0]} of {spec.dataset.name}, "
                "which knows the tasks to come; use one that learns"
            )
        if "data.labels" in asked and not spec.labelled:
            return (
                f"{name}: the reward {reward['name']} learns from labels, and in a stream of tasks "
                "it learns what the model learns, whose draws have none; use a generator that is "
                "conditional on them"
            )
        if not params.get("retrain"):
            return (
                f"{name}: its reward {reward['name']} would learn the first task alone; give "
                "retrain: true, so that it learns what the model learns"
            )
    if isinstance(inner, dict):
        own = {key: value for key, value in inner.items() if key != "name"}
        return _misjudged(inner["name"], own, spec)
    return ""


def _without_tasks(spec: LineageSpec) -> str:
    """Why a cell needs tasks and has none, or the other way round; or ''."""
    if spec.tasks is not None:
        return f"tasks are of arrival tasks, and arrival is {spec.arrival}; leave tasks out"
    for part in (spec.policy, spec.sampling):
        if part.has("TASKS"):
            return f"the {part.kind} {part.label} is for streams of tasks; give {EXAMPLE}"
    return ""


def _too_few(spec: LineageSpec, generations: int) -> str:
    """Why a finite data set cannot give the rows of each task, or ''."""
    found = spec.dataset.contents
    if not isinstance(found, Contents) or found.rest is not None:
        size = spec.dataset.constant("SIZE")
        if size is None or spec.n_real <= size[0]:
            return ""
        return f"{spec.dataset.name} has {size[0]:,} training rows, n_real is {spec.n_real:,}"
    if why := found.split_refusal():
        return why
    for t in range(generations + 1):
        classes = spec.task(t)
        shares = proportional_counts(np.ones(len(classes), dtype=int), spec.n_real).tolist()
        for label, want in zip(classes, shares, strict=True):
            have = found.per_class[label] if found.per_class else found.train
            if want > have:
                return (
                    f"n_real {spec.n_real:,}, the rows of one task, asks {want:,} of class "
                    f"{found.classes[label]} for task {t}, and {found.name} has {have:,} of it to "
                    f"train on (others are held out: {found.why}); lower n_real"
                )
    return ""


def forgotten(spec: LineageSpec, nodes: tuple[Node, ...]) -> str:
    """Why a policy makes no sense for tasks, or for its sampling: it leaves out what arrives, or
    trains on no draw; or ''.
    """
    for node in nodes if spec.stream else ():
        if -1 not in node.sources:
            return (
                f"{spec.policy.label} takes no real rows at generation {node.t}, so that no model "
                f"would see task {node.t}; use the policy replay, or one that keeps some of the "
                "real set that arrives (replace with a synthetic_fraction below 1, augment)"
            )
    alone = len(nodes) > 1 and not any(node.needs for node in nodes)
    if spec.stream and alone and spec.sampling.has("TASKS"):
        return (
            f"the sampling {spec.sampling.label} is about what is replayed, and "
            f"{spec.policy.label} trains on no draw; use plain"
        )
    return ""
