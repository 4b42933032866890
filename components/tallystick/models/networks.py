"""Architectures by name, as plain PyTorch modules; they are converted like a user's own.

===================  ==========================================================================
softmax_regression   one linear layer
mlp                  two hidden layers, 128 and 64 wide
cnn                  one convolution, for images: CrypTen's example of a CNN with autograd
lenet                LeCun et al. 1998, with ReLU and max-pooling, for images
tfe_network_a, b, c  the benchmark networks of TF-Encrypted (Dahl et al. 2018), with BatchNorm as
                     in CrypTen's version of them; b and c are for images
===================  ==========================================================================

Each takes the shape of one row's features, (F,) or (C, H, W), and gives K scores: one for a label
of two classes or a number, or else one for each class.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tallystick.runtime.errors import ConfigError

Shape = tuple[int, ...]


class SoftmaxRegression(nn.Module):
    """One linear layer, from nought."""

    def __init__(self, features: Shape, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(features), outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores."""
        scores: Tensor = self.linear(x.flatten(1))
        return scores


class Mlp(nn.Module):
    """Two hidden layers."""

    def __init__(self, features: Shape, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(math.prod(features), 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores."""
        x = torch.relu(self.fc1(x.flatten(1)))
        scores: Tensor = self.fc3(torch.relu(self.fc2(x)))
        return scores


class Cnn(nn.Module):
    """One convolution, two linear layers."""

    def __init__(self, features: Shape, outputs: int) -> None:
        super().__init__()
        channels, height, width = _image(features, "cnn", least=4)
        self.conv1 = nn.Conv2d(channels, 16, kernel_size=5, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * ((height - 2) // 2) * ((width - 2) // 2), 100)
        self.fc2 = nn.Linear(100, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores."""
        x = self.pool(torch.relu(self.conv1(x)))
        scores: Tensor = self.fc2(torch.relu(self.fc1(x.flatten(1))))
        return scores


class LeNet(nn.Module):
    """Two convolutions, three linear layers.

    A small image (scikit-learn's digits have 8 x 8 pixels) keeps its size in the second convolution
    as it does in the first.
    """

    def __init__(self, features: Shape, outputs: int) -> None:
        super().__init__()
        channels, height, width = _image(features, "lenet", least=4)
        padding = 2 if min(height, width) < 20 else 0
        sides = [(side // 2 + 2 * padding - 4) // 2 for side in (height, width)]
        self.conv1 = nn.Conv2d(channels, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5, padding=padding)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * math.prod(sides), 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores."""
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.relu(self.fc1(x.flatten(1)))
        scores: Tensor = self.fc3(torch.relu(self.fc2(x)))
        return scores


class TfeNetworkA(nn.Module):
    """Three linear layers."""

    def __init__(self, features: Shape, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(math.prod(features), 128)
        self.batchnorm1 = nn.BatchNorm1d(128)
        self.fc2 = nn.Linear(128, 128)
        self.batchnorm2 = nn.BatchNorm1d(128)
        self.fc3 = nn.Linear(128, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores."""
        x = torch.relu(self.batchnorm1(self.fc1(x.flatten(1))))
        x = torch.relu(self.batchnorm2(self.fc2(x)))
        scores: Tensor = self.fc3(x)
        return scores


class TfeNetworkB(nn.Module):
    """Two convolutions, two linear layers, average pooling."""

    def __init__(self, features: Shape, outputs: int) -> None:
        super().__init__()
        channels, height, width = _image(features, "tfe_network_b", least=16)
        self.conv1 = nn.Conv2d(channels, 16, kernel_size=5)
        self.batchnorm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, kernel_size=5)
        self.batchnorm2 = nn.BatchNorm2d(16)
        self.pool = nn.AvgPool2d(2)
        self.fc1 = nn.Linear(16 * _pooled_twice(height) * _pooled_twice(width), 100)
        self.batchnorm3 = nn.BatchNorm1d(100)
        self.fc2 = nn.Linear(100, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores."""
        x = self.pool(torch.relu(self.batchnorm1(self.conv1(x))))
        x = self.pool(torch.relu(self.batchnorm2(self.conv2(x))))
        scores: Tensor = self.fc2(torch.relu(self.batchnorm3(self.fc1(x.flatten(1)))))
        return scores


class TfeNetworkC(nn.Module):
    """As b, and wider."""

    def __init__(self, features: Shape, outputs: int) -> None:
        super().__init__()
        channels, height, width = _image(features, "tfe_network_c", least=16)
        self.conv1 = nn.Conv2d(channels, 20, kernel_size=5)
        self.batchnorm1 = nn.BatchNorm2d(20)
        self.conv2 = nn.Conv2d(20, 50, kernel_size=5)
        self.batchnorm2 = nn.BatchNorm2d(50)
        self.pool = nn.AvgPool2d(2)
        self.fc1 = nn.Linear(50 * _pooled_twice(height) * _pooled_twice(width), 500)
        self.batchnorm3 = nn.BatchNorm1d(500)
        self.fc2 = nn.Linear(500, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores."""
        x = self.pool(torch.relu(self.batchnorm1(self.conv1(x))))
        x = self.pool(torch.relu(self.batchnorm2(self.conv2(x))))
        scores: Tensor = self.fc2(torch.relu(self.batchnorm3(self.fc1(x.flatten(1)))))
        return scores


NETWORKS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "softmax_regression": SoftmaxRegression,
    "mlp": Mlp,
    "cnn": Cnn,
    "lenet": LeNet,
    "tfe_network_a": TfeNetworkA,
    "tfe_network_b": TfeNetworkB,
    "tfe_network_c": TfeNetworkC,
}


def _image(features: Shape, name: str, *, least: int) -> Shape:
    if len(features) != 3 or min(features[1:]) < least:
        raise ConfigError(
            f"the model {name} needs images of {least} x {least} pixels or more, and a row has the "
            f"shape {list(features)}; choose another model, such as mlp, set feature_shape, or "
            "give images to encode"
        )
    return features


def _pooled_twice(side: int) -> int:
    return ((side - 4) // 2 - 4) // 2
