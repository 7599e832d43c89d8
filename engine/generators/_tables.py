"""Tables of probabilities, a row for each distribution: logarithms, cap, temperature, inversion."""

from __future__ import annotations

import numpy as np


def log(p: np.ndarray) -> np.ndarray:
    """Of probabilities, -inf where they are 0."""
    values: np.ndarray = np.log(p, out=np.full(p.shape, -np.inf), where=p > 0)
    return values


def capped(p: np.ndarray, gamma: float) -> np.ndarray:
    """Rows of p [rows, V] with no probability above gamma: what is above is given to the others in
    proportion, until none exceeds it.
    """
    if gamma == 1:
        return p
    full = np.zeros(p.shape, dtype=bool)
    now = p
    while (over := (now > gamma * (1 + 1e-12)) & ~full).any():
        full |= over
        free = np.where(full, 0.0, p)
        mass = free.sum(1, keepdims=True)
        left = 1 - gamma * full.sum(1, keepdims=True)
        scale = np.divide(left, mass, out=np.ones(mass.shape), where=full.any(1, keepdims=True))
        now = np.where(full, gamma, free * scale)
    return now


def tempered(p: np.ndarray, temperature: float) -> np.ndarray:
    """p ** (1 / temperature), rows normalised, in logarithms lest it underflow; at 0 the most
    probable tokens alone.
    """
    if temperature == 0:
        top = p == p.max(1, keepdims=True)
        values: np.ndarray = top / top.sum(1, keepdims=True)
        return values
    log_p = log(p) / temperature
    weights = np.exp(log_p - log_p.max(1, keepdims=True))
    values = weights / weights.sum(1, keepdims=True)
    return values


def ends(p: np.ndarray) -> np.ndarray:
    """Row r + cumulated p [rows, V], flat and ascending: one search inverts every row."""
    cumulated = np.cumsum(p, axis=1)
    cumulated /= cumulated[:, -1:]
    return cumulated + np.arange(len(p))[:, None]


def inverted(ends: np.ndarray, row: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The token at which the cumulated probability of `row` exceeds u: a token of probability 0 is
    never drawn.
    """
    wanted = np.minimum(row + u, np.nextafter(row + 1.0, 0.0))
    place = np.searchsorted(ends.ravel(), wanted, side="right")
    values: np.ndarray = place - row * ends.shape[1]
    return values
