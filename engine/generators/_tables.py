"""Tables of probabilities, a row for each distribution: logarithms, cap, temperature, inversion."""

from __future__ import annotations

import numpy as np

COLDEST = 1e-300  # the logarithm of the smallest probability divided by less is infinite


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
    """p ** (1 / temperature), rows normalised, in logarithms lest it underflow; at 0, or so
    little that logarithms divided by it are infinite, the most probable tokens alone.
    """
    if temperature < COLDEST:
        top = p == p.max(1, keepdims=True)
        values: np.ndarray = top / top.sum(1, keepdims=True)
        return values
    log_p = log(p) / temperature
    weights = np.exp(log_p - log_p.max(1, keepdims=True))
    values = weights / weights.sum(1, keepdims=True)
    return values


class Inverse:
    """Draws from rows of p [rows, V] by inversion: the token at which the cumulated probability
    exceeds a uniform number, never one of probability 0.
    """

    def __init__(self, p: np.ndarray) -> None:
        cumulated = np.cumsum(p, axis=1)
        cumulated /= cumulated[:, -1:]
        self.v = p.shape[1]
        cumulated += np.arange(len(p))[:, None]
        self._ends = cumulated.ravel()  # of row r from r to r + 1

    def __call__(self, row: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Tokens [...] of rows [...] and uniform numbers u [...], by bisection in each row."""
        wanted = np.minimum(row + u, np.nextafter(row + 1.0, 0.0))
        first = row * self.v
        place, left = first.copy(), self.v
        while left > 1:
            half = left // 2
            place += half * (self._ends[place + (half - 1)] <= wanted)
            left -= half
        values: np.ndarray = place - first
        return values
