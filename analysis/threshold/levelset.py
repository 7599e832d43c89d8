"""A Gaussian process for a noisy curve along one axis, and draws from the posterior of where it
crosses a level.

y(x, s) = f(x) + sd(x) [sqrt(rho) u_s(x) + sqrt(1 - rho) e]: f has a linear trend and a Matern-5/2
part on an axis that is warped, because a curve that is flat and then steep has no single length;
log sd is linear in x; u_s is what cells of one seed share (their founder and their noise): a
constant and a rough part that is forgotten along x.  The hyperparameters are integrated over by
importance sampling, because with ten lineages a plugged-in best value is far too sure. The crossing
of a curve is the point that best parts "below" from "above": of several crossings the dominant one.
f is what half of the outcomes lie above; a share `risk` of them lies above f + z sd, z the normal
quantile.  Not bisection on verdicts, which throws the size of y away (and stays biased where the
link is wrong).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, qmc
from scipy.stats import t as t_law
from threadpoolctl import ThreadpoolController

BLAS = ThreadpoolController()  # many small matrices: threads would wait for each other
NODES = 81  # of the axis, where curves are drawn
PROPOSALS = 64  # importance sampling: points in a round (a power of 2),
ROUNDS, SETTLED = (
    24,
    3,
)  # rounds at most, and how many must have had weights that need no flattening
THETAS = 128  # hyperparameters that curves are drawn for: with fewer, searches stop by luck
TREND = 3.0  # prior sd of level and trend, in units of y's spread
JITTER = 1e-8
# of what a Student t with S - 1 degrees is wider than a normal at 90 %, for S seeds that all
# fractions share: the rest is in the posterior of the hyperparameters already
FEW = 0.7
# log amplitude, log length, log sd, log sd's slope, logit rho, logit kept, log seed length, and log
# a, log b of the warped axis
PRIOR_MEAN = np.array([-0.3, -0.9, -1.0, 0.0, 0.5, 0.0, -0.5, 0.0, 0.0])
PRIOR_SD = np.array([0.9, 0.6, 1.0, 1.2, 2.2, 2.0, 0.7, 0.4, 0.4])


@dataclass(frozen=True)
class Posterior:
    """Curves drawn from the posterior, in the units of y, and their crossings of the level."""

    x: np.ndarray  # [nodes] along the axis
    curves: np.ndarray  # [draws, nodes]
    crossings: np.ndarray  # [draws]; the ends of the axis where the level is not crossed
    risk: float
    risky: np.ndarray  # [draws], of the curve that a share `risk` of the outcomes lies above
    level: float
    theta: np.ndarray  # [hyperparameters, 9] that the curves were drawn for
    centre: float  # of y, and its spread: what the hyperparameters are in units of
    spread: float

    @property
    def mean(self) -> np.ndarray:
        return np.asarray(self.curves.mean(0))  # [nodes]


def posterior(
    x: np.ndarray,
    seeds: np.ndarray,
    y: np.ndarray,
    level: float,
    *,
    axis: tuple[float, float],
    risk: float = 0.1,
    rng: np.random.Generator,
    draws: int = 2048,
) -> Posterior:
    """Given outcomes y [n] at x [n] of seeds [n]: draws of the curve, and of where it and the
    outcomes' quantile 1 - risk rise through the level.
    """
    low, high = axis
    centre, spread = float(np.mean(y)), float(np.std(y)) or 1.0
    data = _Data((x - low) / (high - low), np.asarray(seeds), (y - centre) / spread)
    nodes, each = np.linspace(0, 1, NODES), max(draws // THETAS, 1)
    with BLAS.limit(limits=1):
        theta = _hyperparameters(data, rng, THETAS)
        curves = centre + spread * _curves(data, theta, nodes, each, rng)
    sd = spread * np.repeat(_sd(nodes, theta), each, 0)
    typical, risky = (
        low + (high - low) * crossings(nodes, above)
        for above in (curves - level, curves + norm.isf(risk) * sd - level)
    )
    axis_nodes = low + nodes * (high - low)
    return Posterior(axis_nodes, curves, typical, risk, risky, level, theta, centre, spread)


def planned(
    found: Posterior, fractions: np.ndarray, seeds: int, *, rng: np.random.Generator
) -> np.ndarray:
    """Crossings [draws] as a grid of these fractions with so many seeds would leave them, were the
    means of its outcomes on the mean curve, and the scatter as it is believed to be now.
    """
    low, high = found.x[0], found.x[-1]
    y = (np.interp(fractions, found.x, found.mean) - found.centre) / found.spread
    data = _Data((fractions - low) / (high - low), np.zeros(len(fractions)), y, seeds)
    nodes = np.linspace(0, 1, NODES)
    with BLAS.limit(limits=1):
        curves = found.centre + found.spread * _curves(data, found.theta, nodes, 4, rng)
    return np.asarray(low + (high - low) * crossings(nodes, curves - found.level))


def crossings(nodes: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Where curves above [draws, nodes] rise through 0: the c that minimises the positive part
    before c and the negative after.

    The area under a curve is smallest there: the root of a rising curve.  An end of the axis:
    never, or always above.
    """
    pieces = (above[:, 1:] + above[:, :-1]) / 2 * np.diff(nodes)
    area = np.concatenate([np.zeros((len(above), 1)), np.cumsum(pieces, 1)], 1)  # [draws, nodes]
    best = area.argmin(1)
    rows = np.arange(len(above))
    left = np.clip(np.where(above[rows, best] > 0, best - 1, best), 0, len(nodes) - 2)
    a, b = above[rows, left], above[rows, left + 1]
    root = nodes[left] + (nodes[1] - nodes[0]) * np.clip(
        np.divide(-a, b - a, where=b != a, out=np.zeros_like(a)), 0, 1
    )
    return np.asarray(np.where((a < 0) & (b >= 0), root, nodes[best]))


# ---- the model ----


class _Data:
    """Outcomes on the unit axis, standardised, in blocks: those of one seed, padded to the longest.

    each: how many seeds an outcome is the mean of, all of which have every x.
    """

    def __init__(self, x: np.ndarray, seeds: np.ndarray, y: np.ndarray, each: int = 1) -> None:
        self.each, self.paired = each, len(set(seeds)) < len(x)
        self.seeds = len(set(seeds)) * each
        self.at, which = np.unique(x, return_inverse=True)  # [distinct fractions]
        sizes = Counter(seeds)
        rows = np.full((len(sizes), max(sizes.values())), -1)  # [blocks, longest]
        for block, seed in zip(rows, sizes, strict=True):
            block[: sizes[seed]] = np.flatnonzero(seeds == seed)
        self.there = rows >= 0
        self.x, self.y = x[rows], np.where(self.there, y[rows], 0.0)
        self.lag = np.abs(self.x[:, :, None] - self.x[:, None, :])  # [blocks, longest, longest]
        self.trend = _trend(self.at, self.at)
        place = np.where(self.there, which[rows], len(self.at))  # the last one of padding
        self.one = _Sums(place)
        self.two = _Sums(place[:, :, None] * (len(self.at) + 1) + place[:, None, :])

    def precision(self, inverse: np.ndarray) -> np.ndarray:
        """Sums of inverse [hyperparameters, blocks, longest, longest] over the outcomes at two
        fractions: [hyperparameters, distinct, distinct].
        """
        side = len(self.at) + 1
        return self.two(inverse, side * side).reshape(-1, side, side)[:, :-1, :-1]

    def weighted(self, values: np.ndarray) -> np.ndarray:
        """Sums of values [hyperparameters, blocks, longest] over the outcomes at a fraction:
        [hyperparameters, distinct].
        """
        return self.one(values, len(self.at) + 1)[:, :-1]


class _Sums:
    """Sums over the entries of arrays that belong to one place; places: [...] of each entry."""

    def __init__(self, places: np.ndarray) -> None:
        self.order = np.argsort(places, axis=None, kind="stable")
        self.places, self.starts = np.unique(places.ravel()[self.order], return_index=True)

    def __call__(self, values: np.ndarray, size: int) -> np.ndarray:
        """values [hyperparameters, ...] -> [hyperparameters, size]."""
        found = np.zeros((len(values), size))
        flat = values.reshape(len(values), -1)[:, self.order]
        found[:, self.places] = np.add.reduceat(flat, self.starts, axis=1)
        return found


def _trend(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return TREND**2 * (1 + 4 * (a[:, None] - 0.5) * (b - 0.5))


def _matern(a: np.ndarray, b: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Matern-5/2 of amplitude and length theta[:, 0:2] on the warped axis: [hyperparameters, a,
    b].
    """
    scale = np.sqrt(5) / np.exp(theta[:, 1, None])
    r = np.abs((_warped(a, theta) * scale)[:, :, None] - (_warped(b, theta) * scale)[:, None, :])
    covariance = r * r  # in place: these arrays are what a refit costs
    covariance /= 3
    covariance += r
    covariance += 1
    covariance *= np.exp(-r)
    covariance *= np.exp(2 * theta[:, 0])[:, None, None]
    return np.asarray(covariance)


def _warped(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The axis stretched where the curve is steep, by the Kumaraswamy distribution function (Snoek
    2014): [hyperparameters, x].
    """
    a, b = np.exp(theta[:, 7, None]), np.exp(theta[:, 8, None])
    return np.asarray(1 - (1 - x**a) ** b)


def _sd(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Of an outcome around the curve: [hyperparameters, x]."""
    return np.asarray(np.exp(theta[:, 2, None] + theta[:, 3, None] * (x - 0.5) * 2))


def _noise(data: _Data, theta: np.ndarray) -> np.ndarray:
    """Covariance of everything but f within a block: [hyperparameters, blocks, longest, longest].
    Padding has variance 1 and is alone.
    """
    sd = _sd(data.x.ravel(), theta).reshape(len(theta), *data.x.shape)
    diagonal = np.eye(data.x.shape[1])
    own = diagonal * (sd**2 + JITTER)[..., None]
    if data.paired:
        rho, kept = (1 / (1 + np.exp(-theta[:, i]))[:, None, None, None] for i in (4, 5))
        length = np.exp(theta[:, 6])[:, None, None, None]
        alike = kept + (1 - kept) * np.exp(-data.lag / length)
        shared = alike * sd[..., :, None] * sd[..., None, :]
        own = rho * shared + (1 - rho) * own + JITTER * data.each * diagonal
    both = data.there[:, :, None] & data.there[:, None, :]
    return np.asarray(np.where(both, own / data.each, diagonal))


@dataclass(frozen=True)
class _Means:
    """What outcomes say of f at their distinct fractions: values that f is seen at with a normal
    error, and what else their probability depends on.  Exact, and as small for 500 lineages as for
    the fractions they ran at.
    """

    values: np.ndarray  # [hyperparameters, distinct]
    factor: np.ndarray  # [hyperparameters, distinct, distinct], Cholesky's of their covariance
    rest: np.ndarray  # [hyperparameters], of the log probability


def _means(data: _Data, theta: np.ndarray) -> _Means:
    """y = P f + e, f ~ N(0, C), e ~ N(0, N): with M = P' N^-1 P the values M^-1 P' N^-1 y are
    N(f, M^-1), and |P C P' + N| = |N| |M| |C + M^-1|.
    """
    noise = _noise(data, theta)
    inverse = 1 / noise if noise.shape[-1] == 1 else np.linalg.inv(noise)
    weighted = (inverse @ data.y[..., None])[..., 0]
    precision, sums = data.precision(inverse), data.weighted(weighted)
    if data.paired:
        error, log_precision = np.linalg.inv(precision), np.linalg.slogdet(precision)[1]
        values = (error @ sums[..., None])[..., 0]
    else:
        diagonal = np.diagonal(precision, axis1=1, axis2=2)
        error, log_precision = np.eye(len(data.at)) / diagonal[:, None], np.log(diagonal).sum(1)
        values = sums / diagonal
    left = (data.y * weighted).sum((1, 2)) - (sums * values).sum(1)
    rest = -0.5 * (np.linalg.slogdet(noise)[1].sum(1) + log_precision + left)
    covariance = data.trend + _matern(data.at, data.at, theta) + error
    return _Means(values, np.linalg.cholesky(covariance), rest)


def _log_posterior(data: _Data, theta: np.ndarray) -> np.ndarray:
    """Up to a constant: [hyperparameters]."""
    seen = _means(data, theta)
    z = np.linalg.solve(seen.factor, seen.values[..., None])[..., 0]
    half = np.log(np.diagonal(seen.factor, axis1=1, axis2=2)).sum(1)
    likelihood = seen.rest - 0.5 * (z**2).sum(1) - half
    return np.asarray(likelihood - 0.5 * (((theta - PRIOR_MEAN) / PRIOR_SD) ** 2).sum(1))


def _hyperparameters(data: _Data, rng: np.random.Generator, number: int) -> np.ndarray:
    """[number, 9] from their posterior: a Gaussian proposal moves to where the weight is, tempered
    at first.
    """
    mean, root, whole = PRIOR_MEAN, np.diag(PRIOR_SD), 0
    for _ in range(ROUNDS):
        z = norm.ppf(qmc.Sobol(len(PRIOR_MEAN), rng=rng).random(PROPOSALS))
        theta = mean + z @ root.T
        log_weight = _log_posterior(data, theta) + 0.5 * (z**2).sum(1)
        weight, power = _tempered(log_weight)
        whole += power == 1.0
        if whole == SETTLED:
            break
        mean = weight @ theta
        spread = (theta - mean).T @ (weight[:, None] * (theta - mean)) + 0.02 * np.diag(PRIOR_SD**2)
        root = np.linalg.cholesky(1.2 * spread)
    final = np.cumsum(np.exp(log_weight - log_weight.max()))
    even = (np.arange(number) + rng.random()) / number * final[-1]  # systematic resampling
    return np.asarray(theta[np.minimum(np.searchsorted(final, even), len(theta) - 1)])


def _tempered(log_weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights, flattened (raised to a power below 1) until their effective number is a fifth of the
    points; and the power.
    """
    power = 1.0
    while True:
        weight = np.exp(power * (log_weight - log_weight.max()))
        weight /= weight.sum()
        if 1 / (weight**2).sum() >= len(weight) / 5:
            return np.asarray(weight), power
        power *= 0.8


def _curves(
    data: _Data, theta: np.ndarray, nodes: np.ndarray, each: int, rng: np.random.Generator
) -> np.ndarray:
    """`each` curves of f for each row of hyperparameters: [draws, nodes], on the unit axis.

    Resampled hyperparameters repeat: what does not draw is done once for those that are alike.
    """
    whole, few = theta, data.paired and data.seeds > 1
    theta, alike = np.unique(whole, axis=0, return_inverse=True)
    seen = _means(data, theta)
    cross = _trend(data.at, nodes) + _matern(data.at, nodes, theta)  # [theta, distinct, nodes]
    both = np.linalg.solve(seen.factor, np.concatenate([cross, seen.values[..., None]], 2))
    half, z = both[..., :-1], both[..., -1]
    mean = np.einsum("hnm,hn->hm", half, z)
    left = _trend(nodes, nodes) + _matern(nodes, nodes, theta) - half.transpose(0, 2, 1) @ half
    root = np.linalg.cholesky(
        left + 1e-6 * np.eye(len(nodes)) * (1 + np.exp(2 * theta[:, 0])[:, None, None])
    )
    drawn = mean[alike, :, None] + root[alike] @ rng.standard_normal(
        (len(whole), len(nodes), each)
    )  # [hyperparameters, nodes, each]
    if few:
        drawn = drawn + _few_seeds(data.seeds, whole, nodes) * rng.standard_normal(
            (len(whole), 1, each)
        )
    return np.asarray(drawn.transpose(0, 2, 1).reshape(-1, len(nodes)))


def _few_seeds(seeds: int, theta: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """How far the mean of so few shared effects may be off beyond what the model says, as sd:
    [hyperparameters, nodes, 1].
    """
    wider = (t_law.isf(0.05, seeds - 1) / norm.isf(0.05)) ** 2 - 1
    rho = 1 / (1 + np.exp(-theta[:, 4]))
    return np.asarray(
        np.sqrt(FEW * wider * rho / seeds)[:, None, None] * _sd(nodes, theta)[:, :, None]
    )
