"""What one GPU reaches: DDPM of 64 px against the card's own matrix ceiling, few-step sampling, and
four small lineages packed.

    python tests/bench/bench_gpu.py            # all of it on a GPU, about ten minutes
    python tests/bench/bench_gpu.py --smoke    # the same code with tiny sizes, on any machine

Goals on a GPU: training of the 64 px preset at 40 % or more of the measured bf16 rate of 8192^3 at
its best batch; four packed `tiny` lineages at 2.5 times the throughput of one after the other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.registry import make
from engine.samples import Samples
from engine.training import resume
from engine.training.device import device

WAYS = {  # name: parameters of the generator
    "float32": {"precision": "no"},
    "tf32": {"precision": "tf32"},
    "bf16": {"precision": "bf16"},
    "bf16, channels last": {"precision": "bf16", "channels_last": True},
    "bf16, channels last, compiled": {"precision": "bf16", "channels_last": True, "compile": True},
}
PACKED = 4


def pictures(n: int, pixels: int) -> Samples:
    rng = np.random.default_rng(0)
    return Samples(
        rng.integers(0, 256, (n, pixels, pixels, 3), dtype=np.uint8), rng.integers(0, 10, n)
    )


def synchronised() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def ceiling(side: int, repeats: int = 20) -> float:
    """Achieved FLOP/s of bf16 products of two square matrices."""
    a = torch.randn(side, side, device=device(), dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    started = synchronised()
    for _ in range(repeats):
        a @ a
    return 2 * side**3 * repeats / (synchronised() - started)


def trained(data: Samples, steps: int, **params: Any) -> tuple[Any, dict[str, float]]:
    generator = make("generator", "ddpm", steps=steps, **params)
    with resume.keeping(resume.Place()) as place:
        generator.fit(data, np.random.default_rng(0))
    return generator, place.speed


def flops_per_image(data: Samples, size: str) -> float:
    """Forward and backward, of one training step."""
    with FlopCounterMode(display=False) as counter:
        trained(data.take(slice(0, 8)), 1, size=size, batch=8)
    return counter.get_total_flops() / 8


def training(size: str, pixels: int, batches: list[int], steps: int, side: int) -> None:
    data = pictures(max(batches), pixels)
    flops, top = flops_per_image(data, size), ceiling(side)
    print(
        f"ddpm {size}, {pixels} px: {flops / 1e9:.2f} GFLOP per image; bf16 products of "
        f"{side}^3 reach {top / 1e12:.2f} TFLOP/s"
    )
    for name, way in WAYS.items():
        for batch in batches:
            trained(data, 3, size=size, batch=batch, **way)  # warm up and compile
            _, speed = trained(data, steps, size=size, batch=batch, **way)
            rate = speed["examples_per_second"]
            memory = f", {speed['peak_memory_gb']:.1f} GB" if "peak_memory_gb" in speed else ""
            share = rate * flops / top
            print(
                f"  {name:30s} batch {batch:4d}: {rate:8.1f} images/s, "
                f"{rate * flops / 1e12:7.3f} TFLOP/s, {share:5.1%}{memory}"
            )


def sampling(size: str, pixels: int, n: int) -> None:
    for sampler, steps in (("dpm-solver++", 20), ("unipc", 10), ("ddim", 50)):
        params = {
            "precision": "bf16",
            "channels_last": True,
            "sampler": sampler,
            "sampling_steps": steps,
        }
        generator, _ = trained(pictures(64, pixels), 1, size=size, batch=8, **params)
        generator.sample(8, np.random.default_rng(0))
        started = synchronised()
        generator.sample(n, np.random.default_rng(1))
        print(f"  {sampler} with {steps} steps: {n / (synchronised() - started):.1f} images/s")


def one_lineage(seed: int, steps: int, samples: int) -> None:
    data = pictures(512, 32)
    generator = make("generator", "ddpm", size="tiny", steps=steps, batch=min(32, samples))
    generator.fit(data, np.random.default_rng(seed))
    generator.sample(samples, np.random.default_rng(seed))


def packed(steps: int, samples: int = 256, n: int = PACKED) -> None:
    """Wall time of n lineages one after the other in one process, and in n processes at once."""

    def seconds(groups: list[list[int]]) -> float:
        started = time.perf_counter()
        command = [sys.executable, __file__, "--steps", str(steps), "--samples", str(samples)]
        each = [
            subprocess.Popen([*command, "--lineages", ",".join(map(str, group))])
            for group in groups
        ]
        assert all(process.wait() == 0 for process in each)
        return time.perf_counter() - started

    start_up = seconds([[]])
    alone, together = (
        seconds(groups) - start_up for groups in ([list(range(n))], [[i] for i in range(n)])
    )
    print(
        f"{n} tiny lineages: {alone:.1f} s one after the other, {together:.1f} s packed: "
        f"x{alone / together:.2f}"
    )


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--smoke", action="store_true")
    words.add_argument("--lineages")
    words.add_argument("--steps", type=int, default=400)
    words.add_argument("--samples", type=int, default=256)
    asked = words.parse_args()
    if asked.lineages is not None:
        for seed in filter(None, asked.lineages.split(",")):
            one_lineage(int(seed), asked.steps, asked.samples)
    elif asked.smoke:
        if not torch.cuda.is_available():  # minutes of compiling without one
            del WAYS["bf16, channels last, compiled"]
        training("tiny", 16, [8], 1, 64)
        sampling("tiny", 16, 1)
        packed(1, 2, n=2)
    elif not torch.cuda.is_available():
        print("skipped: there is no GPU (--smoke runs the same code with tiny sizes)")
    else:
        training("64", 64, [32, 64, 128, 256], 20, 8192)
        sampling("64", 64, 256)
        packed(asked.steps)


if __name__ == "__main__":
    main()
