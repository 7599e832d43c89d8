"""torchvision, importable also beside a CPU build of torch.

The registry's only Linux wheel of torchvision is built against CUDA.  Beside a CPU build of torch
its compiled operators do not load, and the import then fails because two operator schemas are
missing.  What this project uses of it (data sets, models, transforms) is plain Python, so declaring
          those two schemas is enough.  Import torchvision from here.
"""

from __future__ import annotations

import importlib
import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

try:
    torchvision = importlib.import_module("torchvision")
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[module]
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for _schema in _SCHEMAS:
        _library.define(_schema)
    torchvision = importlib.import_module("torchvision")

__all__ = ["torchvision"]
