"""Which classes a conditional generator draws, from how often each was in its training set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.files import JsonObject
from engine.parts import Finding
from engine.samples import Samples, proportional_labels


def label_counts(y: np.ndarray | None, data: Samples) -> list[int]:
    """How often each class is there in y, the labels of data, from class 0 on: to the last one that
    is there, or that may come where classes arrive one after another; none for unlabelled data.
    """
    if y is None:
        return []
    growing = data.traits is not None and data.traits.growing
    most = (data.declared.classes or 0) if growing else 0
    counts: list[int] = np.bincount(y.ravel(), minlength=most).tolist()
    return counts


def labels_for(n: int, labels: np.ndarray | None, counts: Sequence[int]) -> np.ndarray | None:
    """Labels [n]: those asked for, else in the training set's proportions; None for a model of
    unlabelled data.

    Raises Finding("extinct") for a class of which the training set had no row: a network would draw
    noise under its label.
    """
    if not counts:
        return None
    if labels is None:
        return proportional_labels(np.repeat(np.arange(len(counts)), counts), n)
    asked = np.unique(labels).astype(np.int64)
    if unseen := [k for k in asked.tolist() if k >= len(counts) or not counts[k]]:
        seen = ", ".join(str(k) for k, n in enumerate(counts) if n)
        raise Finding(
            "extinct",
            f"class {unseen[0]} is asked for, and the training set had no row of it: its classes "
            f"are {seen}",
        )
    return labels.astype(np.int64)


def same_networks(config: JsonObject, other: JsonObject) -> bool:
    """Whether networks of the one can take the weights of the other: all alike but how often each
    class was there.
    """
    return _shape(config) == _shape(other)


def _shape(config: JsonObject) -> JsonObject:
    """Put the number of classes in place of their counts."""
    if "label_counts" not in config:
        return config
    return config | {"label_counts": len(config["label_counts"])}
