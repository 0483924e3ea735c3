"""Well-known nets of others, rebuilt small from their papers, with the faults they have."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfnorm import init
from selfnorm.diagnosis import convert
from selfnorm.experiments._faults_nets import Case
from selfnorm.experiments._tasks import Task

__all__ = ["PUBLIC"]


def flow_matching() -> nn.Module:
    """Return the velocity net of conditional flow matching: (x, t) to a velocity, SELU throughout.

    Tong et al. 2024, arXiv:2302.00482: three hidden layers of 64, torch's default weights.
    """
    return nn.Sequential(
        nn.Linear(3, 64), nn.SELU(), nn.Linear(64, 64), nn.SELU(),
        nn.Linear(64, 64), nn.SELU(), nn.Linear(64, 2),
    )  # fmt: skip


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch norm, a sum, ReLU; shortcut of option B."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or into != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return functional.relu(y)


class ResNet20(nn.Module):
    """ResNet-20 for small images, a quarter as wide: He et al. 2016, arXiv:1512.03385, sec. 4.2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        blocks, into = [], 4
        for out, stride in ((4, 1), (8, 2), (16, 2)):
            for index in range(3):
                blocks.append(BasicBlock(into, out, stride if index == 0 else 1))
                into = out
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(16, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = self.blocks(functional.relu(self.bn1(self.conv1(x))))
        out: Tensor = self.linear(x.mean((2, 3)))
        return out


def snn_block() -> nn.Module:
    """Return the genomic net of pathology models: ELU with alpha dropout, called an SNN.

    Chen et al. 2022 (Pathomic Fusion), arXiv:1912.08937: four blocks of Linear, ELU and
    AlphaDropout(0.25), weights normal with variance 1 / fan_in.
    """
    layers: list[nn.Module] = []
    for into, out in ((64, 64), (64, 48), (48, 32), (32, 32)):
        layers += [nn.Linear(into, out), nn.ELU(), nn.AlphaDropout(0.25)]
    net = nn.Sequential(*layers, nn.Linear(32, 10))
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, module.in_features**-0.5)
            nn.init.zeros_(module.bias)
    return net


class NBeatsBlock(nn.Module):
    """Four layers, then a backcast that is subtracted and a forecast that is added."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for into in (40, 64, 64, 64):
            layers += [nn.Linear(into, 64), nn.SELU(), nn.Dropout(0.1)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(64, 48)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is left of the input, and the forecast."""
        both = self.head(self.layers(x))
        return x - both[:, :40], both[:, 40:]


class NBeats(nn.Module):
    """Generic N-BEATS with SELU, six blocks: Oreshkin et al. 2020, arXiv:1905.10437.

    SELU and dropout are options of the widely used N-BEATSx code (Olivares et al. 2023,
    arXiv:2104.05522), with torch's default weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(NBeatsBlock() for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the forecasts."""
        forecasts = []
        for block in self.blocks:
            x, forecast = block(x)
            forecasts.append(forecast)
        return torch.stack(forecasts).sum(0)


def deep_surv() -> nn.Module:
    """Return DeepSurv with SELU and dropout: Katzman et al. 2018, arXiv:1606.00931."""
    layers: list[nn.Module] = []
    for into in (10, 48, 48):
        layers += [nn.Linear(into, 48), nn.SELU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(48, 1))


def vgg() -> nn.Module:
    """Return a VGG of six convolutions with SELU: Simonyan, Zisserman 2015, arXiv:1409.1556.

    ReLU exchanged for SELU, the rest as torchvision has it: He weights by fan-out, normal weights
    of deviation .01 in the head, zero padding, dropout in the head.
    """
    layers: list[nn.Module] = []
    into = 1
    for out, count in ((12, 2), (16, 2), (24, 2)):
        for _ in range(count):
            layers += [nn.Conv2d(into, out, 3, padding=1), nn.SELU()]
            into = out
        layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(24, 48), nn.SELU(), nn.Dropout(0.5), nn.Linear(48, 10)]
    net = nn.Sequential(*layers, nn.Flatten(), *head)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)
    return net


def _init(net: nn.Module, _: Task) -> nn.Module:
    return init.initialize_(net)


def _convert(net: nn.Module, task: Task) -> nn.Module:
    return convert(net, task.train[0], weights="new").model


def _silent_heads(net: nn.Module, _: Task) -> nn.Module:
    assert isinstance(net, NBeats)
    for block in net.blocks:
        assert isinstance(block, NBeatsBlock)
        init.initialize_(block.layers)
        nn.init.zeros_(block.head.weight)
        nn.init.zeros_(block.head.bias)
    return net


_CALL: Final = "selfnorm.convert(model, X, weights='new').model"

PUBLIC: Final = {
    case.name: case
    for case in (
        Case(
            "flow-matching", "velocity net of conditional flow matching, SELU, default weights",
            "moons", flow_matching, _init, "selfnorm.init.initialize_(model)",
            optimizer="adam", expected="default-init",
        ),
        Case(
            "resnet-20", "ResNet-20 with batch norm and ReLU, a quarter as wide",
            "digits-image", ResNet20, _convert, _CALL, optimizer="adam",
        ),
        Case(
            "snn-block", "“SNN block” of pathology models: ELU and AlphaDropout(0.25)",
            "digits", snn_block, _convert, _CALL, optimizer="adam",
            expected="alpha-dropout-after-relu",
        ),
        Case(
            "n-beats", "N-BEATS with SELU, default weights, Dropout(0.1)",
            "series", NBeats, _convert, _CALL, optimizer="adam", expected="default-init",
        ),
        Case(
            "n-beats-zero-heads", "the same", "series", NBeats, _silent_heads,
            "selfnorm.init.initialize_(block.layers), zeros in each block.head",
            optimizer="adam", expected="default-init",
        ),
        Case(
            "deep-surv", "DeepSurv with SELU, default weights, Dropout(0.2)",
            "survival", deep_surv, _convert, _CALL, optimizer="adam", expected="default-init",
        ),
        Case(
            "vgg", "VGG with SELU in place of ReLU, He weights, zero padding",
            "digits-image", vgg, _convert, _CALL, optimizer="adam", expected="he-init",
        ),
    )
}  # fmt: skip
