"""Which classes a conditional generator draws, from how often each was in its training set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.files import JsonObject
from engine.parts import Finding
from engine.samples import proportional_labels


def label_counts(y: np.ndarray | None) -> list[int]:
    """How often each class is there, from class 0 on; none for unlabelled data."""
    return [] if y is None else np.bincount(y.ravel()).tolist()


def labels_for(n: int, labels: np.ndarray | None, counts: Sequence[int]) -> np.ndarray | None:
    """Labels [n]: those asked for, else in the training set's proportions; None for a model of
    unlabelled data.

    Raises Finding("extinct") for a class beyond those that the training set had.
    """
    if not counts:
        return None
    if labels is None:
        return proportional_labels(np.repeat(np.arange(len(counts)), counts), n)
    if labels.size and labels.max() >= len(counts):
        raise Finding(
            "extinct",
            f"class {labels.max()} is asked for; the training set ends at class {len(counts) - 1}",
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
