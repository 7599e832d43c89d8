"""The whole state of a training loop as bytes and back, so that a resumed training gives the bits
of an uninterrupted one.

Networks, optimisers, averages, the position in every stream of random numbers, and the sums the
report is made of.  One safetensors file whose header holds the rest as JSON; nothing is pickled
(accelerate's own `save_state` pickles, and keeps neither numpy's nor torch's named streams).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

HEADER = "header"
# what the libraries raise for a state that is none
UNREADABLE = (
    SafetensorError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,  # of torch, and RecursionError of json
    OverflowError,
)


@dataclass
class State:
    """What a training loop holds between two steps."""

    models: Sequence[nn.Module]  # networks and averages, in a fixed order
    optimisers: Sequence[Any]
    rng: np.random.Generator  # orders of minibatches
    order: Any  # the minibatches of the present epoch: get_state() -> Tensor, set_state
    noise: torch.Generator
    sums: Tensor
    scaler: Any = None  # of fp16

    def to_bytes(self, step: int, about: str) -> bytes:
        tensors: dict[str, Tensor] = {
            "sums": self.sums,
            "noise": self.noise.get_state(),
            "torch": torch.get_rng_state(),
        }
        tensors["order"] = self.order.get_state()
        if torch.cuda.is_available():
            tensors["cuda"] = torch.cuda.get_rng_state()
        for i, model in enumerate(self.models):
            tensors |= {f"model/{i}/{name}": value for name, value in model.state_dict().items()}
        for i, optimiser in enumerate(self.optimisers):
            for j, slots in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser/{i}/{j}/{name}": value for name, value in slots.items()}
        header = {"step": step, "about": about, "rng": self.rng.bit_generator.state}
        header["scaler"] = self.scaler.state_dict() if self.scaler is not None else None
        tensors[HEADER] = torch.frombuffer(
            bytearray(json.dumps(header, default=int).encode()), dtype=torch.uint8
        )
        return save(
            {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        )

    def from_bytes(self, data: bytes, about: str) -> int:
        """The step that was reached; 0, and nothing changed, when the state belongs to something
        else, or is none.
        """
        before = self.to_bytes(0, about)
        try:
            return self._taken(data, about)
        except UNREADABLE:
            return self._taken(before, about)

    def _taken(self, data: bytes, about: str) -> int:
        tensors = load(data)
        header = json.loads(tensors.pop(HEADER).numpy().tobytes())
        if header["about"] != about or not self._fits(tensors):
            return 0
        if type(header["step"]) is not int or header["step"] < 0:
            raise ValueError(f"no step: {header['step']!r}")
        for i, model in enumerate(self.models):
            prefix = f"model/{i}/"
            model.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
        for i, optimiser in enumerate(self.optimisers):
            slots = _slots(tensors, f"optimiser/{i}/", _parameters(optimiser))
            optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
        if self.scaler is not None and header["scaler"]:
            self.scaler.load_state_dict(header["scaler"])
        self.sums.copy_(tensors["sums"])
        self.order.set_state(tensors["order"])
        self.noise.set_state(tensors["noise"])
        torch.set_rng_state(tensors["torch"])
        if torch.cuda.is_available() and "cuda" in tensors:
            torch.cuda.set_rng_state(tensors["cuda"])
        self.rng.bit_generator.state = header["rng"]
        step: int = header["step"]
        return step

    def _fits(self, tensors: dict[str, Tensor]) -> bool:
        """Whether these are weights of the networks that are trained."""
        own = {
            f"model/{i}/{name}": value.shape
            for i, model in enumerate(self.models)
            for name, value in model.state_dict().items()
        }
        return own == {k: v.shape for k, v in tensors.items() if k.startswith("model/")}


def _parameters(optimiser: Any) -> list[Tensor]:
    """What an optimiser changes, in the order in which it counts its slots."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _slots(
    tensors: dict[str, Tensor], prefix: str, parameters: Sequence[Tensor]
) -> dict[int, dict[str, Tensor]]:
    """An optimiser's slots by parameter, each in its parameter's memory order (channels last):
    fused kernels walk through memory, and would pair a weight with another one's moments.
    """
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            index, slot = name.removeprefix(prefix).split("/")
            parameter = parameters[int(index)]
            alike = value.shape == parameter.shape
            ordered = (
                torch.empty_like(parameter, dtype=value.dtype).copy_(value) if alike else value
            )
            found.setdefault(int(index), {})[slot] = ordered
    return found
