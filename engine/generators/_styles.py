"""Styles of a frozen generator: what GAN Memory (Cong et al. 2006.07543) learns of a task.

Every weight is normalised once, by the row of a dense layer, by the kernel of each pair of channels
in a convolution, and a task has for each of these its own deviation gamma, mean beta, and for each
output its own bias b (the paper's mFiLM and mAdaFM, equations 4 and 5):

    W' = gamma (W - mean W) / std W + beta

With gamma = std W, beta = mean W and the old b it is the generator it was.  A label's column of the
first dense layer is a bias of its own for that label, so it is learnt with the bias, one for each
class of a task.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from engine.generators._dcgan import DcganCritic, DcganGenerator

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
FIRST = "start.0"  # the layer that reads labels


def normalised(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A weight [out, in] or [a, b, height, width] by rows or kernels: normalised, and the deviation
    and mean of each.  Where all of one is equal its deviation is 0 and what is left of it is 0.
    """
    over = (1,) if weight.ndim == 2 else (2, 3)
    mean = weight.mean(over, keepdim=True)
    deviation = weight.std(over, keepdim=True, unbiased=False)
    return (weight - mean) / torch.where(deviation > 0, deviation, 1.0), deviation, mean


class StyledGenerator(nn.Module):
    """A generator of images whose parameters are the style of one task alone.

    classes  of the task, labels 0..classes-1 within it; 0: unlabelled.
    """

    labels: nn.Parameter | None

    def __init__(self, base: DcganGenerator, latent: int, classes: int) -> None:
        super().__init__()
        self.latent, self.classes = latent, classes
        self.names = [n for n, layer in base.named_modules() if isinstance(layer, LAYERS)]
        self.gamma, self.beta, self.bias = (nn.ParameterList() for _ in range(3))
        for name in self.names:
            _, deviation, mean = normalised(self._weight(base, name))
            self.gamma.append(nn.Parameter(deviation.clone()))
            self.beta.append(nn.Parameter(mean.clone()))
            self.bias.append(nn.Parameter(base.get_parameter(f"{name}.bias").detach().clone()))
        rows = len(base.get_parameter(f"{FIRST}.weight"))
        self.labels = nn.Parameter(torch.zeros(rows, classes)) if classes else None
        self.freeze(base)

    def _weight(self, base: DcganGenerator, name: str) -> Tensor:
        """A layer's frozen weight, without the columns of labels."""
        weight = base.get_parameter(f"{name}.weight").detach()
        return weight[:, : self.latent] if name == FIRST else weight

    def freeze(self, base: DcganGenerator) -> None:
        """Take over what is not learnt, on the device and from the weights that it has now."""
        self.normal = {name: normalised(self._weight(base, name))[0] for name in self.names}
        styled = {f"{name}.{which}" for name in self.names for which in ("weight", "bias")}
        self.kept = {
            name: value.detach() for name, value in base.named_parameters() if name not in styled
        }
        shell = copy.copy(base)  # its layers, another number of classes
        shell.classes = self.classes
        self._shell = (shell,)  # in a tuple: not a part of this module

    def start_from_labels(self, base: DcganGenerator, like: Sequence[int]) -> None:
        """Begin with the base's columns of its own classes, one for each of the task's."""
        if self.labels is not None and like:
            weight = base.get_parameter(f"{FIRST}.weight").detach()
            self.labels.data = weight[:, [self.latent + k for k in like]].clone()

    def weights(self) -> dict[str, Tensor]:
        """All parameters of the generator in this style."""
        found = dict(self.kept)
        styles = zip(self.names, self.gamma, self.beta, self.bias, strict=True)
        for name, gamma, beta, bias in styles:
            found[f"{name}.weight"] = gamma * self.normal[name] + beta
            found[f"{name}.bias"] = bias
        if self.labels is not None:
            first = f"{FIRST}.weight"
            found[first] = torch.cat([found[first], self.labels], 1)
        return found

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = functional_call(self._shell[0], self.weights(), (z, y))
        return out


def critic_of(base: DcganCritic, like: Sequence[int], classes: int) -> DcganCritic:
    """A copy of the base's critic for a task of so many classes, which read labels as the base's
    classes `like` do; where the base has none, all begin alike.
    """
    critic = copy.deepcopy(base).requires_grad_(True)
    critic.classes = classes
    rows = [0, *(1 + k for k in like)]
    out = nn.Linear(base.out.in_features, 1 + classes, device=base.out.weight.device)
    with torch.no_grad():
        out.weight.zero_()
        out.bias.zero_()
        out.weight[: len(rows)] = base.out.weight[rows]
        out.bias[: len(rows)] = base.out.bias[rows]
    critic.out = out
    return critic
