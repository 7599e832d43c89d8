"""Fitted parameters against the truth: mean and covariance (Kazdan 2410.16713), regression weights
(Gerstgrasser 2404.01413).

Of the model where it has them (`mean_`, `covariance_`, `weights_`), else of its samples, with
divisor n.  KL and W2 are those between the normal distributions with these moments, not between the
data and the model.  No floor: the truth is exact.
"""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np

from engine.knowledge import FittedMoments, FittedWeights, TrueMoments, TrueWeights, knows
from engine.parts import Around, Dataset, Generator, Keys, Needs, Number, Params, Undefined, Ways
from engine.samples import Samples


class Moments:
    """Compares, one value per replicate: [replicates].  The weights' squared error is the noiseless
    test error over all covariates N(0, I); Kazdan estimates it on 1,000 of them.
    """

    TINY: ClassVar[Params] = {}
    ACCEPTS = ("points", "regression")
    NEEDS: ClassVar[Needs] = {
        "data.moments": {"GIVES": ("points",)},
        "data.weights": {"GIVES": ("regression",)},
        "model.weights": {"GIVES": ("regression",)},
    }
    HEADLINE: ClassVar[dict[str, str]] = {"regression": "moments/weight_error"}
    READS = ("moments", "weights")
    KEYS: ClassVar[Keys] = {
        "moments/kl": (
            "KL(truth || model) between the normal distributions with these moments",
            "nats",
            "lower",
        ),
        "moments/weight_error": (
            "of a regression: |w - w*|^2",
            "squared units of the weights",
            "lower",
        ),
        "moments/mean_error": ("|m - mu|^2", "squared units of the data", "lower"),
        "moments/trace_ratio": (
            "trace of the covariance over that of the truth",
            "ratio",
            "near 1",
        ),
        "moments/log_det_ratio": (
            "log of the determinant of the covariance over that of the truth",
            "nats",
            "near 0",
        ),
        "moments/w2": (
            "squared W2 distance between the normal distributions with these moments",
            "squared units of the data",
            "lower",
        ),
    }
    BY: ClassVar[Ways] = {
        "moments/weight_error": "ratio",
        "moments/mean_error": "ratio",
        "moments/trace_ratio": "ratio",
        "moments/log_det_ratio": "difference",
        "moments/w2": "ratio",
    }

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        self._truth: _Normal | None = None
        if dataset.GIVES == "regression":
            self._weights = cast(TrueWeights, dataset).weights_  # [replicates, d]
        else:
            self._truth = _Normal(*cast(TrueMoments, dataset).moments())

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Number]:
        if self._truth is None:
            return self._of_regression(generator)
        if knows(generator, "moments"):
            model = cast(FittedMoments, generator)
            return _compare(self._truth, model.mean_, model.covariance_)
        if not np.isfinite(synthetic.x).all():
            return dict.fromkeys(POINTS, Undefined("some samples are not finite"))
        if not len(synthetic):
            return dict.fromkeys(POINTS, Undefined("there are no samples"))
        return _compare(self._truth, *_moments(synthetic.x.astype(float)))

    def _of_regression(self, generator: Generator) -> dict[str, Number]:
        if not knows(generator, "weights"):
            return {
                "moments/weight_error": Undefined(
                    f"{type(generator).__name__} has no regression weights"
                )
            }
        gap = cast(FittedWeights, generator).weights_ - self._weights
        return {"moments/weight_error": np.square(gap).sum(1)}


POINTS = tuple(
    f"moments/{key}" for key in ("mean_error", "trace_ratio", "log_det_ratio", "kl", "w2")
)


class _Normal:
    """The truth, with what comparisons need of it."""

    def __init__(self, mean: np.ndarray, covariance: np.ndarray) -> None:
        values, vectors = np.linalg.eigh(covariance)
        self.mean, self.trace = mean, values.sum()
        self.root = vectors * np.sqrt(values) @ vectors.T  # [d, d]
        self.whiten = vectors / np.sqrt(values) @ vectors.T  # [d, d]
        self.isotropic = np.allclose(values, values[0], rtol=1e-12, atol=0)
        self.variance = values[0]  # of every axis, where isotropic

    def whitened(self, covariance: np.ndarray) -> np.ndarray:
        """In units of the truth's."""
        values: np.ndarray = (
            covariance / self.variance if self.isotropic else self.whiten @ covariance @ self.whiten
        )
        return values


def _compare(truth: _Normal, mean: np.ndarray, covariance: np.ndarray) -> dict[str, Number]:
    """Mean [replicates, d] and covariance [replicates, d, d] against the truth."""
    gap = mean - truth.mean  # [replicates, d]
    relative = truth.whitened(covariance)
    values = _eigenvalues(relative)  # [replicates, d]
    d = values.shape[1]
    regular = values[:, 0] > d * np.finfo(float).eps * values[:, -1]
    trace = np.trace(covariance, axis1=1, axis2=2)
    log_det, kl = np.full(len(values), -np.inf), np.full(len(values), np.inf)
    log_det[regular] = np.log(values[regular]).sum(1)
    kl[regular] = 0.5 * (
        log_det[regular]
        + (1 / values[regular]).sum(1)
        + _squares((gap @ truth.whiten)[regular], relative[regular])
        - d
    )
    mean_error = np.square(gap).sum(1)
    w2 = np.maximum(mean_error + trace + truth.trace - 2 * _fidelity(truth, values, covariance), 0)
    singular = Undefined("every replicate's covariance is singular")
    return dict(
        zip(
            POINTS,
            (
                mean_error,
                trace / truth.trace,
                *((log_det, kl) if regular.any() else (singular, singular)),
                w2,
            ),
            strict=True,
        )
    )


def _fidelity(truth: _Normal, values: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """tr (R covariance R)^(1/2), R the root of the truth's covariance, [replicates]; values: of the
    whitened covariance.
    """
    if truth.isotropic:
        array: np.ndarray = truth.variance * np.sqrt(np.maximum(values, 0)).sum(1)
        return array
    array = np.sqrt(np.maximum(_eigenvalues(truth.root @ covariance @ truth.root), 0)).sum(1)
    return array


def _eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """[replicates, d], ascending; d = 1 without LAPACK,
    which would be called once per replicate.
    """
    return matrix[:, :, 0] if matrix.shape[1] == 1 else np.linalg.eigvalsh(matrix)


def _squares(gap: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """gap' matrix^-1 gap, [replicates]."""
    if matrix.shape[1] == 1:
        values: np.ndarray = np.square(gap[:, 0]) / matrix[:, 0, 0]
        return values
    values = (gap * np.linalg.solve(matrix, gap[:, :, None])[:, :, 0]).sum(1)
    return values


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [replicates, d] and covariance (divisor n) [replicates, d, d] of points [n, replicates,
    d].
    """
    mean = x.mean(0)
    away = np.ascontiguousarray((x - mean).transpose(1, 0, 2))  # [replicates, n, d]
    return mean, away.transpose(0, 2, 1) @ away / len(x)
