"""The U-Net of diffusion and flow matching (Ho et al. 2006.11239): diffusers' UNet2DModel, its
sizes, labels and guidance.

Images are uint8 [n, h, w, c]; the network sees [b, c, height, width] in [-1, 1], its sides padded
with the border's pixels to
multiples of what it halves by.  The padding is modelled too and cut off samples, so that the
                                 network stands alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional

from engine._torchvision import torchvision  # noqa: F401  (before diffusers, which imports it)
from engine.files import JsonObject
from engine.generators._pretrained import config_of, place_of, require_whole
from engine.training.device import device, tensor_float
from engine.training.loop import Training

from diffusers import UNet2DModel  # isort: skip

WANTED = "a UNet2DModel of diffusers, or a pipeline of one,"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"  # diffusers' name


@dataclass(frozen=True)
class Size:
    """A network and a training that suits it."""

    channels: tuple[
        int, ...
    ]  # per level, from full resolution down; an MLP's hidden units per layer
    layers: int  # residual blocks per level
    attention: tuple[int, ...]  # the levels with self-attention, 0 being full resolution
    dropout: float
    steps: int
    batch: int
    lr: float
    ema: float  # decay of the average of the weights, about 1 - 10 / steps
    warmup: int = 0


SIZES = {
    "tiny": Size(
        (16, 32, 64), 1, (2,), 0.0, 1500, 32, 2e-3, 0.99
    ),  # 0.7 M: MNIST in four minutes of one core
    "32": Size(
        (128, 256, 256, 256), 2, (1,), 0.1, 50_000, 128, 2e-4, 0.9995, 500
    ),  # 36 M weights: Ho et al. for CIFAR-10
    "64": Size((128, 256, 256, 256), 3, (2, 3), 0.1, 50_000, 64, 2e-4, 0.9995, 500),  # 49 M
}


def with_own(size: Size, **own: Any) -> Size:
    """The size with the numbers that were given (not None) in place of its own."""
    given: JsonObject = {
        k: tuple(v) if isinstance(v, list) else v for k, v in own.items() if v is not None
    }
    return replace(size, **given)


def guidance(bias: float | None) -> float:
    """Guidance weight w from MAD's sampling bias: bias = 1 / (1 + w); None and 1 are honest,
    w = 0.
    """
    if bias is not None and not 0 < bias <= 1:
        raise ValueError(
            f"bias={bias} is guidance of weight 1/bias - 1; allowed: above 0 (0.5 is weight 1), "
            "at most 1"
        )
    return 0.0 if bias is None else 1 / bias - 1


class ImageUnet:
    """A UNet2DModel for images of one shape, conditional where there are labels: its last class
    means no label.

    Guidance (Ho and Salimans 2207.12598) needs a network that has seen images without their label,
    so training drops some.
    """

    def __init__(self, unet: Any, config: JsonObject, label_dropout: float) -> None:
        self.module, self.config, self.label_dropout = unet, config, label_dropout
        height, width, channels = config["shape"]
        step = 2 ** (len(config["channels"]) - 1)
        self.pad = (-height % step, -width % step)
        self.latent_shape = (channels, height + self.pad[0], width + self.pad[1])
        self.classes = len(config["label_counts"])

    @classmethod
    def new(cls, x: np.ndarray, counts: list[int], size: Size, label_dropout: float) -> ImageUnet:
        """A network for images like x with so many of each class."""
        network = {
            "channels": list(size.channels),
            "layers": size.layers,
            "attention": list(size.attention),
        }
        config = {
            "shape": list(x.shape[1:]),
            "label_counts": counts,
            **network,
            "dropout": size.dropout,
        }
        levels = len(size.channels)
        if any(level >= levels for level in size.attention):
            raise ValueError(
                f"attention names levels 0 to {levels - 1} of the {levels} in channels, got "
                f"{list(size.attention)}"
            )
        return cls(_unet(config), config, label_dropout)

    @classmethod
    def based(
        cls, base: str, x: np.ndarray, counts: list[int], size: Size, label_dropout: float
    ) -> ImageUnet:
        """A UNet2DModel of diffusers, or of a pipeline's folder, to be trained further: labels that
        it was not trained on have new weights.  ValueError for any other network.
        """
        folder = unet_of(place_of(base))
        own = config_of(folder, WANTED)
        if own.get("_class_name") != "UNet2DModel":
            raise ValueError(f"base: {folder} holds a {own.get('_class_name')}; {WANTED} is wanted")
        colours, classes = x.shape[3], len(counts) + 1 if counts else None
        for name, here in (("in_channels", colours), ("out_channels", colours)):
            if own.get(name) != here:
                raise ValueError(
                    f"base: the network in {folder} has {name} {own.get(name)}, the "
                    f"images have {here} channels"
                )
        if own.get("num_class_embeds") not in (None, classes):
            raise ValueError(
                f"base: the network in {folder} has {own['num_class_embeds']} classes, that of no "
                f"label among them, the images have {len(counts)}"
            )
        step = 2 ** (len(own["block_out_channels"]) - 1)
        height, width = (side + -side % step for side in x.shape[1:3])
        described = {name: value for name, value in own.items() if not name.startswith("_")}
        described |= {"sample_size": [height, width], "num_class_embeds": classes}
        described["dropout"] = size.dropout
        config = {
            "shape": list(x.shape[1:]),
            "label_counts": counts,
            "channels": list(own["block_out_channels"]),
            "base": described,
        }
        return cls(_with_weights(_unet(config), folder), config, label_dropout)

    # ---- data in and out ----

    def encode(
        self, batch: tuple[Tensor, ...], noise: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """A minibatch as the network sees it: images [b, c, height, width], and labels of which
        some are dropped.
        """
        x = batch[0].permute(0, 3, 1, 2).float() / 127.5 - 1
        (top, left), (bottom, right) = ([p // 2 for p in self.pad], [p - p // 2 for p in self.pad])
        x = functional.pad(x, (left, right, top, bottom), mode="replicate")
        if not self.classes:
            return x, None
        dropped = torch.rand(len(x), generator=noise, device=x.device) < self.label_dropout
        return x, torch.where(dropped, self.classes, batch[1])

    def decode(self, x: Tensor) -> np.ndarray:
        """uint8 [b, h, w, c], the padding cut off."""
        x = self.inside(x).float().clamp(-1, 1)
        return (
            ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        )

    def inside(self, x: Tensor) -> Tensor:
        """Without the padding."""
        (top, left), (height, width, _) = [p // 2 for p in self.pad], self.config["shape"]
        return x[..., top : top + height, left : left + width]

    # ---- the network ----

    def predict(self, x: Tensor, t: Tensor, y: Tensor | None, weight: float = 0.0) -> Tensor:
        """float32 like x at times t [b]; guided by (1 + weight) given y - weight given no label."""
        if y is None:
            out: Tensor = self.module(x, t, return_dict=False)[0].float()
            return out
        if not weight:
            out = self.module(x, t, y, return_dict=False)[0].float()
            return out
        both = torch.cat([y, torch.full_like(y, self.classes)])
        conditional, free = (
            self.module(x.repeat(2, 1, 1, 1), t.repeat(2), both, return_dict=False)[0]
            .float()
            .chunk(2)
        )
        out = (1 + weight) * conditional - weight * free
        return out

    def weight(self, bias: float | None) -> float:
        """The guidance weight, refused where nothing can be guided."""
        weight = guidance(bias)
        if weight and not self.classes:
            raise ValueError(
                f"bias={bias} is classifier-free guidance, which needs labels; leave bias at 1 "
                "without them"
            )
        if weight and not self.label_dropout:
            raise ValueError(
                f"bias={bias} is classifier-free guidance, which needs label_dropout above 0 in "
                "training (0.1)"
            )
        return weight

    # ---- files ----

    def save(self, folder: Path) -> None:
        """The network in unet/ as diffusers keeps it, and what it was built from in config.json."""
        self.module.to(memory_format=torch.contiguous_format).save_pretrained(folder / "unet")
        (folder / "config.json").write_text(
            json.dumps(self.config, sort_keys=True, indent=1) + "\n"
        )

    @classmethod
    def load(cls, folder: Path, label_dropout: float) -> ImageUnet:
        config = json.loads((folder / "config.json").read_text())
        unet = _unet(config)
        unet.load_state_dict(load((folder / WEIGHTS).read_bytes()))
        return cls(unet.to(device()).eval(), config, label_dropout)


def unet_of(folder: Path) -> Path:
    """Where the network of a pipeline lies, or the folder itself."""
    return folder / "unet" if (folder / "unet").is_dir() else folder


def refuse_own(base: str | None, **own: Any) -> None:
    """ValueError for numbers of the network beside one that has its own."""
    if base is not None and (given := [name for name, value in own.items() if value is not None]):
        raise ValueError(f"{', '.join(given)} belong to base; leave them out")


def _with_weights(unet: Any, folder: Path) -> Any:
    """The network with the weights of a folder, but for labels it has none of."""
    try:
        weights = load((folder / Path(WEIGHTS).name).read_bytes())
        lacking, unknown = unet.load_state_dict(weights, strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"base: the weights in {folder} cannot be read: {error}") from None
    lacking = [name for name in lacking if not name.startswith("class_embedding.")]
    require_whole({"missing_keys": lacking, "unexpected_keys": unknown}, folder)
    return unet


def _unet(config: JsonObject) -> Any:
    if "base" in config:
        return UNet2DModel.from_config(config["base"])
    (height, width, colours), channels = config["shape"], config["channels"]
    step, levels, common = 2 ** (len(channels) - 1), range(len(channels)), math.gcd(*channels)
    kinds = ["Attn" if level in config["attention"] else "" for level in levels]
    return UNet2DModel(
        sample_size=(height + -height % step, width + -width % step),
        in_channels=colours,
        out_channels=colours,
        block_out_channels=tuple(channels),
        layers_per_block=config["layers"],
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        dropout=config["dropout"],
        norm_num_groups=math.gcd(
            32, max(1, common // 4)
        ),  # at least 4 channels in a group: of 1 it would erase brightness
        attention_head_dim=math.gcd(64, common),
        num_class_embeds=len(config["label_counts"]) + 1 if config["label_counts"] else None,
    )


def even_times(shape: Sequence[int], noise: torch.Generator, on: torch.device) -> Tensor:
    """Times in [0, 1), one in each n-th of it along the last axis, shuffled: losses vary less
    (Kingma et al. 2107.00630).
    """
    u = torch.rand(tuple(shape), generator=noise, device=on)
    order = torch.rand(tuple(shape), generator=noise, device=on).argsort(-1)
    return ((order + u) / shape[-1]).clamp(max=1 - 2**-24)


@contextmanager
def sampling(net: Any, how: Training, guided: bool = False) -> Iterator[None]:
    """Inside, a network computes as in training, without gradients; not compiled, since shapes met
    before would change bits.

    guided: gradients can be asked for.
    """
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(how.precision)
    net.module.to(
        memory_format=torch.channels_last if how.channels_last else torch.contiguous_format
    )
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad() if guided else torch.inference_mode())
        stack.enter_context(tensor_float(how.precision))
        stack.enter_context(torch.autocast(device().type, dtype=dtype, enabled=dtype is not None))
        if how.compile:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield
