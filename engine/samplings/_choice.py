"""Which token follows, of the probabilities that a language model gives."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

ROUNDING = 1e-12


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Of logits [..., V]: float64."""
    values: np.ndarray = log_softmax(logits.astype(np.float64, copy=False), axis=-1)
    return values


def chosen(
    log_p: np.ndarray, u: np.ndarray, *, temperature: float, top_k: int, top_p: float = 1.0
) -> np.ndarray:
    """Tokens [rows] of log probabilities [rows, V] and uniform numbers u [rows].

    p ** (1 / temperature), of which the top_k most likely tokens (0: all) and, of those, the
    smallest set whose probability reaches top_p; at temperature 0 the most likely token.
    """
    if temperature == 0:
        values: np.ndarray = log_p.argmax(1)
        return values
    with np.errstate(over="ignore"):
        weights = np.exp((log_p - log_p.max(1, keepdims=True)) / temperature)
    if not 0 < top_k < weights.shape[1] and top_p == 1:
        return _inverted(weights, u)
    order = _descending(weights, top_k)  # [rows, V or top_k]
    weights = np.take_along_axis(weights, order, axis=1)
    before = np.cumsum(weights, axis=1) - weights
    reached = before >= top_p * weights.sum(1, keepdims=True) * (1 - ROUNDING)
    weights[:, 1:][reached[:, 1:] & (top_p < 1)] = 0
    values = np.take_along_axis(order, _inverted(weights, u)[:, None], axis=1)[:, 0]
    return values


def _descending(weights: np.ndarray, top_k: int) -> np.ndarray:
    """Tokens [rows, top_k or V], the most likely first, of equal ones the smaller."""
    if not 0 < top_k < weights.shape[1]:
        return np.argsort(-weights, axis=1, kind="stable")
    near = np.sort(np.argpartition(-weights, top_k - 1, axis=1)[:, :top_k], axis=1)
    inside = np.argsort(-np.take_along_axis(weights, near, axis=1), axis=1, kind="stable")
    return np.take_along_axis(near, inside, axis=1)


def _inverted(weights: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The place [rows] at which the cumulated weights [rows, V] exceed the share u: never one of
    weight 0.
    """
    cumulated = np.cumsum(weights, axis=1)
    total = cumulated[:, -1]
    wanted = np.minimum(u * total, np.nextafter(total, 0.0))
    values: np.ndarray = (cumulated <= wanted[:, None]).sum(1)
    return values


class Beams:
    """Beam search, a `Choose` of knowledge.py: of each text's continuations the most likely stay.

    Rows are (text, beam, replicate); afterwards the most likely beam is the first.
    end  the token after which nothing counts; None: texts end at their last token.
    """

    def __init__(self, texts: int, beams: int, end: int | None = None) -> None:
        self.texts, self.beams, self.end = texts, beams, end
        self._score: np.ndarray | None = None  # [texts, replicates, beams]
        self._ended = np.zeros(0, dtype=bool)  # [texts, replicates, beams]

    def __call__(
        self, logits: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        v = logits.shape[1]
        log_p = log_probabilities(logits).reshape(self.texts, self.beams, -1, v)
        log_p = log_p.transpose(0, 2, 1, 3)  # [texts, replicates, beams, V]
        if self._score is None:  # all beams are equal: one of them counts
            self._score = np.where(np.arange(self.beams) == 0, 0.0, -np.inf)
            self._ended = np.zeros(log_p.shape[:3], dtype=bool)
        if self.end is not None:  # what has ended goes on in one way
            log_p[self._ended] = np.where(np.arange(v) == self.end, 0.0, -np.inf)
        total = (self._score[..., None] + log_p).reshape(*log_p.shape[:2], -1)
        best = np.argsort(-total, axis=2, kind="stable")[..., : self.beams]
        self._score = np.take_along_axis(total, best, axis=2)
        beam, token = best // v, best % v
        self._ended = np.take_along_axis(self._ended, beam, axis=2) | (token == self.end)
        row = np.arange(len(logits)).reshape(self.texts, self.beams, -1).transpose(0, 2, 1)
        parent = np.take_along_axis(row, beam, axis=2)
        return self._rows(token), self._rows(parent)

    @staticmethod
    def _rows(values: np.ndarray) -> np.ndarray:
        """[texts, replicates, beams] in the order of rows."""
        return values.transpose(0, 2, 1).ravel()
