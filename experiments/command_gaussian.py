"""Fits a normal distribution and draws from it: a training script as one finds it, which knows
nothing of the engine.

    python command_gaussian.py fit    --data data.npz --model FOLDER
    python command_gaussian.py sample --model FOLDER --n 500 --seed 0 --out out.npz
"""

import argparse
import pathlib

import numpy as np


def fit(args):
    x = np.load(args.data)["x"]  # [n, d], or [n, replicates, d]
    print(f"{len(x)} points of shape {x.shape[1:]}")
    mean = x.mean(0)
    away = np.moveaxis(x - mean, 0, -2)  # [..., n, d]
    covariance = away.swapaxes(-1, -2) @ away / len(x)
    np.savez(pathlib.Path(args.model) / "normal.npz", mean=mean, covariance=covariance)


def sample(args):
    model = np.load(pathlib.Path(args.model) / "normal.npz")
    root = np.linalg.cholesky(model["covariance"])  # [..., d, d]
    z = np.random.default_rng(args.seed).standard_normal((args.n, *model["mean"].shape))
    np.savez(args.out, x=model["mean"] + (root @ z[..., None])[..., 0])


parser = argparse.ArgumentParser()
commands = parser.add_subparsers(required=True)
for name, function in (("fit", fit), ("sample", sample)):
    command = commands.add_parser(name)
    command.set_defaults(function=function)
    command.add_argument("--data")
    command.add_argument("--model", required=True)
    command.add_argument("--n", type=int)
    command.add_argument("--seed", type=int)
    command.add_argument("--out")
args = parser.parse_args()
args.function(args)
