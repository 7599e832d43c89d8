"""Folders of pretrained weights: what may be read of them, and why not.

Nothing is fetched, nothing is unpickled, and no code of a folder is run: weights are safetensors,
and a network is one that the installed library knows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from engine.files import JsonObject, expanded

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
# entries of a config that name code of the folder, or other number formats
FOREIGN = ("auto_map", "custom_pipelines", "quantization_config")
LANGUAGE_MODEL = "a language model of transformers"
PLAIN = (None, "eager", "sdpa")  # implementations of attention; others are code of a hub


def place_of(base: str) -> Path:
    """Where the folder lies."""
    return Path(expanded(base))


def config_of(folder: Path, what: str, named: str = "config.json") -> JsonObject:
    """The description of the network in a folder.

    what  is wanted, for messages.  FileNotFoundError, ValueError for a folder that holds none, has
    no safetensors, or wants code of its own.
    """
    wanted = f"{what} is wanted, as save_pretrained writes it"
    if not folder.is_dir():
        fault = f"{folder} is no folder" if folder.exists() else f"there is no folder {folder}"
        raise (ValueError if folder.exists() else FileNotFoundError)(f"base: {fault}; {wanted}")
    file = folder / named
    try:
        config = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"base: {folder} has no {named}; {wanted}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"base: {file} cannot be read: {error}; {wanted}") from None
    if not isinstance(config, dict):
        raise ValueError(f"base: {file} is no description of a network; {wanted}")
    foreign = [entry for entry in FOREIGN if config.get(entry)]
    foreign += [k for k, own in config.items() if "_implementation" in k and own not in PLAIN]
    if foreign:
        raise ValueError(
            f"base: {file} asks for {', '.join(foreign)}: code or numbers that are not the "
            "library's are not used; give a folder of plain weights"
        )
    if not any(folder.glob("*.safetensors")):
        found = sorted(file.name for kind in PICKLES for file in folder.glob(kind))
        has = f"; {', '.join(found[:3])} would have to be unpickled" if found else ""
        raise ValueError(f"base: {folder} has no safetensors{has}; {wanted}")
    for weights in sorted(folder.glob("*.safetensors")):
        _require_sound(weights)
    return config


def _require_sound(weights: Path) -> None:
    """ValueError where a file of weights is not whole, by its header and length."""
    try:
        with safe_open(weights, framework="np"):
            return
    except (OSError, SafetensorError) as error:
        raise ValueError(f"base: {weights} cannot be read: {in_a_line(error)}") from None


def in_a_line(error: Exception) -> str:
    """What a library says of a file, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def require_room(folder: Path, tokens: int | None, length: int | None) -> None:
    """ValueError for a folder that holds no language model, as far as its files say it, or one of
    fewer tokens or of shorter texts than the data; None: only absent data could tell.
    """
    config = config_of(folder, LANGUAGE_MODEL)
    if not isinstance(config.get("model_type"), str):
        raise ValueError(f"base: {folder} does not say what network it holds (model_type)")
    have, longest = config.get("vocab_size"), config.get("max_position_embeddings")
    few = isinstance(have, int) and (tokens or 0) > have
    short = isinstance(longest, int) and (length or 0) > longest
    if few or short:
        own = f"{have:,} tokens" if few else f"texts of at most {longest:,} tokens"
        theirs = f"{tokens:,}" if few else f"{length:,}"
        raise ValueError(f"base: the network in {folder} has {own}, the data have {theirs}")


def require_noise(folder: Path, wanted: JsonObject) -> None:
    """ValueError where the scheduler beside a network was of another noise or target; a folder
    without one says nothing of it.
    """
    file = folder / "scheduler" / "scheduler_config.json"
    if not file.is_file():
        return
    try:
        own = json.loads(file.read_text("utf-8"))
        other = {name: own[name] for name in wanted if name in own and own[name] != wanted[name]}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"base: {file} cannot be read: {error}") from None
    if other:
        said = ", ".join(f"{name} {own}, here {wanted[name]}" for name, own in other.items())
        raise ValueError(
            f"base: the network in {folder} was trained with {said}; set prediction, schedule and "
            "timesteps as it was"
        )


def require_whole(info: Any, folder: Path) -> None:
    """ValueError where weights are lacking, unknown or of another shape.

    info  what a library says of loading: missing, unexpected and mismatched keys.
    """
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys", "error_msgs"):
        if found := list(info.get(kind) or ()):
            said = ", ".join(map(str, found[:3])) + (", ..." if len(found) > 3 else "")
            raise ValueError(
                f"base: the weights in {folder} are not those of the network that its config "
                f"describes: {kind.replace('_', ' ')} {said}"
            )
