"""ResNet-18 (He et al. 2016) sized to the image: torchvision's network with a stem that leaves the
first stage about 32 pixels.

Up to 32 pixels the stem is a 3 x 3 convolution, up to 64 one of stride 2, neither with max pooling;
larger images get
torchvision's own stem.  It learns from the data at hand alone: not the ImageNet network of
                         extractor "resnet18".  One CPU core
learns from about 50 images a second at 32 pixels, and reads 165 (LeNet: thousands).
"""

from __future__ import annotations

from torch import Tensor, nn

from engine._torchvision import torchvision

FEATURES = 512


class ResNet18(nn.Module):
    """uint8 [n, height, width, channels] -> logits [n, classes]; the same interface as LeNet."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        height, width, channels = shape
        self.body = torchvision.models.resnet18(weights=None)
        if max(height, width) <= 64:
            stride = 1 if max(height, width) <= 32 else 2
            self.body.conv1 = nn.Conv2d(channels, 64, 3, stride=stride, padding=1, bias=False)
            self.body.maxpool = nn.Identity()
        elif channels != 3:
            self.body.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.body.fc = nn.Identity()
        self.head = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1  # [n, channels, height, width]
        return self.body(x)  # [n, 512]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
