"""The networks of StyleGAN2 (Karras et al. 1912.04958), in the small configuration of StyleGAN2-ADA
(2006.06676).

Not StyleGAN (no instance normalisation, no growing) and not StyleGAN3 (its layers are not free of
aliasing).  One w steers all layers: there is no style mixing, as in StyleGAN2-ADA with labels.
            Images are [b, channels, resolution, resolution] in [-1, 1].
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

BINOMIAL = (
    torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64
)  # [4, 4], sums to 1
MAPPING_LR = 0.01  # the mapping network learns this much slower than the rest
GROUP = 4  # images whose standard deviation the discriminator sees, at most


# ---- resampling ----------------------------------------------------------------------------------


def blur(x: Tensor, pad: int, stride: int = 1, gain: float = 1.0) -> Tensor:
    """Each channel convolved with the binomial filter: [b, c, h, w] -> [b, c, (h + 2 pad - 4) //
    stride + 1, ...].
    """
    kernel = (gain * BINOMIAL).to(x).expand(x.shape[1], 1, 4, 4)
    return functional.conv2d(x, kernel, stride=stride, padding=pad, groups=x.shape[1])


def double(x: Tensor) -> Tensor:
    """Twice the resolution: zeros between the pixels, then the filter."""
    kernel = (4 * BINOMIAL).to(x).expand(x.shape[1], 1, 4, 4)
    return functional.conv_transpose2d(
        x, kernel, stride=2, padding=1, groups=x.shape[1]
    )  # [b, c, 2 h, 2 w]


# ---- layers --------------------------------------------------------------------------------------


def leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2) * math.sqrt(
        2
    )  # keeps the second moment of its input about as it is


class Linear(nn.Module):
    """Equalised learning rate: weights are stored as unit normals and scaled at run time, so Adam
    moves all layers alike.
    """

    def __init__(self, n_in: int, n_out: int, bias: float = 0.0, lr: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / lr)
        self.bias = nn.Parameter(torch.full((n_out,), bias / lr))
        self.scale, self.lr = lr * n_in**-0.5, lr

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.scale, self.bias * self.lr)


class Conv(nn.Module):
    """The same for a convolution that keeps the size, or halves it after a blur."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int, bias: bool = True, halve: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        self.scale, self.pad, self.halve = (n_in * kernel**2) ** -0.5, kernel // 2, halve

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale
        if self.halve:
            return functional.conv2d(blur(x, pad=self.pad + 1), weight, self.bias, stride=2)
        return functional.conv2d(x, weight, self.bias, padding=self.pad)


def modulated(
    x: Tensor, weight: Tensor, style: Tensor, demodulate: bool = True, up: bool = False
) -> Tensor:
    """Convolution with weights of each sample's own, w'_oi = w_oi s_i / |w_o s|: [b, i, h, w] ->
    [b, o, h, w], up: doubled.

    Scaling inputs by s_i and outputs by 1 / |w_o s| is the grouped convolution of the paper without
    b copies of the weights (measured 1.2 to 3.4 times faster on a CPU).
    """
    x = x * style[:, :, None, None]
    if up:
        x = blur(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2), pad=1, gain=4)
    else:
        x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
    if demodulate:
        norm = style.float().square() @ weight.float().square().sum((2, 3)).T  # [b, o]
        x = x * (norm + 1e-8).rsqrt()[:, :, None, None].to(x.dtype)
    return x


class StyledConv(nn.Module):
    """Modulated 3 x 3 convolution, one noise per pixel with a learnt strength, bias, rectifier."""

    def __init__(self, n_in: int, n_out: int, w_length: int, up: bool) -> None:
        super().__init__()
        self.style = Linear(w_length, n_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(n_out, n_in, 3, 3))
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.scale, self.up = (9 * n_in) ** -0.5, up

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        x = modulated(x, self.weight * self.scale, self.style(w), up=self.up)
        noise = noise.view(len(x), 1, *x.shape[2:])
        return leaky(x + self.strength * noise + self.bias[:, None, None])


class ToImage(nn.Module):
    """Modulated 1 x 1 convolution to pixels, not demodulated."""

    def __init__(self, n_in: int, channels: int, w_length: int) -> None:
        super().__init__()
        self.style = Linear(w_length, n_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, n_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = n_in**-0.5

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return (
            modulated(x, self.weight * self.scale, self.style(w), demodulate=False)
            + self.bias[:, None, None]
        )


# ---- generator -----------------------------------------------------------------------------------


def unit(x: Tensor) -> Tensor:
    """Every row with second moment 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Mapping(nn.Module):
    """Latents z [b, latent] and labels [b] -> w [b, latent]; `mean` is the mean w of each class,
    the centre of truncation.
    """

    mean: Tensor

    def __init__(self, latent: int, classes: int, layers: int) -> None:
        super().__init__()
        self.latent, self.classes = latent, classes
        self.embed = Linear(classes, latent) if classes else None
        widths = [latent * (2 if classes else 1)] + [latent] * layers
        self.layers = nn.ModuleList([Linear(a, b, lr=MAPPING_LR) for a, b in pairwise(widths)])
        self.register_buffer("mean", torch.zeros(max(classes, 1), latent))

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        w = unit(z)
        if self.embed is not None and y is not None:
            w = torch.cat(
                [w, unit(self.embed(functional.one_hot(y, self.classes).to(w.dtype)))], dim=1
            )
        for layer in self.layers:
            w = leaky(layer(w))
        return w

    @torch.no_grad()
    def learn_mean(self, z: Tensor) -> None:
        for label in range(len(self.mean)):
            self.mean[label] = self(z, torch.full((len(z),), label, device=z.device)).mean(0)

    def truncated(self, w: Tensor, y: Tensor | None, psi: float) -> Tensor:
        """psi = 1: w itself; 0: the mean of its class."""
        return torch.lerp(
            self.mean[torch.zeros(len(w), dtype=torch.long) if y is None else y], w, psi
        )


class StyleGenerator(nn.Module):
    """Pixels are a sum over resolutions 4, 8, ... of what each adds to the doubled picture below
    it.

    widths  channels at each resolution.
    """

    path_mean: Tensor

    def __init__(
        self, widths: list[int], channels: int, latent: int, classes: int, mapping_layers: int
    ) -> None:
        super().__init__()
        self.mapping = Mapping(latent, classes, mapping_layers)
        self.start = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.convs, self.to_image = nn.ModuleList(), nn.ModuleList()
        self.noise_sizes: list[int] = []
        for level, width in enumerate(widths):
            if level:
                self.convs.append(StyledConv(widths[level - 1], width, latent, up=True))
            self.convs.append(StyledConv(width, width, latent, up=False))
            self.to_image.append(ToImage(width, channels, latent))
            self.noise_sizes += [(4 << level) ** 2] * (2 if level else 1)
        self.register_buffer("path_mean", torch.zeros(()))  # of the path lengths, over the steps

    def draw(self, w: Tensor, noise: Tensor) -> Tensor:
        """w [b, latent] and one normal per pixel and layer, noise [b, sum of noise_sizes] ->
        images.
        """
        each = iter(noise.split(self.noise_sizes, dim=1))
        convs = iter(self.convs)
        x = next(convs)(self.start.expand(len(w), -1, -1, -1), w, next(each))
        image = self.to_image[0](x, w)
        for to_image in self.to_image[1:]:
            x = next(convs)(x, w, next(each))
            x = next(convs)(x, w, next(each))
            image = double(image) + to_image(x, w)
        out: Tensor = image
        return out

    def forward(self, z: Tensor, y: Tensor | None, noise: Tensor) -> Tensor:
        return self.draw(self.mapping(z, y), noise)


# ---- discriminator -------------------------------------------------------------------------------


class Halving(nn.Module):
    """Residual block to half the resolution."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first, self.second = Conv(n_in, n_in, 3), Conv(n_in, n_out, 3, halve=True)
        self.skip = Conv(n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (
            leaky(self.second(leaky(self.first(x)))) + self.skip(blur(x, pad=1, stride=2))
        ) / math.sqrt(2)
        return out


def beside_deviation(x: Tensor) -> Tensor:
    """One more channel: the standard deviation over a group of images, averaged over channels and
    pixels.

    Groups are neighbours in the minibatch, of the largest size up to GROUP that divides it.
    """
    group = next(g for g in range(GROUP, 0, -1) if len(x) % g == 0)
    groups = x.float().unflatten(0, (-1, group))  # [b / group, group, c, h, w]
    deviation = (groups.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))  # [b / group]
    each = deviation.repeat_interleave(group).to(x.dtype)
    return torch.cat([x, each[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)


class Discriminator(nn.Module):
    """Images and labels -> logits [b], real above 0; the label enters by its embedding's product
    with the last features.

    augment_p and real_sign belong to adaptive augmentation: its probability, and a running mean of
    sign(logit of real images).
    """

    augment_p: Tensor
    real_sign: Tensor

    def __init__(self, widths: list[int], channels: int, classes: int) -> None:
        super().__init__()
        falling, last = widths[::-1], widths[0]
        self.classes = classes
        self.from_image = Conv(channels, falling[0], 1)
        self.blocks = nn.Sequential(*[Halving(a, b) for a, b in pairwise(falling)])
        self.conv = Conv(last + 1, last, 3)
        self.dense, self.out = Linear(16 * last, last), Linear(last, 1)
        self.embed = Linear(classes, last) if classes else None
        self.register_buffer("augment_p", torch.zeros(()))
        self.register_buffer("real_sign", torch.zeros(()))

    def forward(self, images: Tensor, y: Tensor | None) -> Tensor:
        x = self.blocks(leaky(self.from_image(images)))
        x = leaky(self.conv(beside_deviation(x)))
        x = leaky(self.dense(x.flatten(1)))
        logit = self.out(x)[:, 0]
        if self.embed is not None and y is not None:
            label = unit(self.embed(functional.one_hot(y, self.classes).to(x.dtype)))
            logit = logit + (x * label).sum(1) * x.shape[1] ** -0.5
        out: Tensor = logit.float()
        return out
