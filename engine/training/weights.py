"""The weights of a network as a file, with what is needed to build the network again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safetensors.torch import load, save
from torch import nn

from engine.files import JsonObject
from engine.training.device import device

Network = TypeVar("Network", bound=nn.Module)


def save_weights(model: nn.Module, folder: Path, config: JsonObject) -> None:
    """weights.safetensors, and what is needed to build the network again in config.json."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    (folder / "weights.safetensors").write_bytes(save(state))
    (folder / "config.json").write_text(json.dumps(config, sort_keys=True, indent=1) + "\n")


def load_weights(
    folder: Path, build: Callable[[JsonObject], Network]
) -> tuple[Network, JsonObject]:
    """The network that `build` makes from the config, with its weights, on the device."""
    config = json.loads((folder / "config.json").read_text())
    model = build(config)
    model.load_state_dict(load((folder / "weights.safetensors").read_bytes()))
    return model.to(device()).eval(), config
