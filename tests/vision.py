"""The architectures of torchvision, with seeded random weights.

PyTorch's index has a torchvision for each build of torch; PyPI's has operators compiled for CUDA
alone, and does not import beside a torch that was built for CPUs because two of them are missing.
They detect objects and have no part in these networks, so declaring their names is enough.
"""

import torch
from torch import Tensor, nn

_missing = torch.library.Library("torchvision", "FRAGMENT")


def network(name: str, classes: int = 1000) -> nn.Module:
    """Return an untrained network in evaluation mode, its statistics those of random images."""
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            _missing.define(f"{operator}(Tensor boxes, Tensor scores, float overlap) -> Tensor")
    from torchvision import models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        module: nn.Module = getattr(models, name)(weights=None, num_classes=classes)
        _settle(module)
    return module.eval()


def _settle(module: nn.Module) -> None:
    """Give normalisations statistics and weights that differ from 0 and 1."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # of all batches, the mean
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.uniform_(layer.bias, -0.1, 0.1)
    with torch.no_grad():
        module.train()(images(4, 64 if not _needs_large(module) else 224))
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1


def _needs_large(module: nn.Module) -> bool:
    """AlexNet and VGG16 end with pooling to a size that small images do not fill."""
    return type(module).__name__ in ("AlexNet", "VGG")


def images(rows: int, side: int, seed: int = 3) -> Tensor:
    """Return random images [rows, 3, side, side], smooth as photographs are, normalised."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(rows, 3, max(4, side // 8), max(4, side // 8), generator=generator)
    smooth = torch.nn.functional.interpolate(
        coarse, (side, side), mode="bilinear", align_corners=False
    )
    return smooth + 0.2 * torch.randn(rows, 3, side, side, generator=generator)
