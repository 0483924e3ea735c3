"""Networks and data as strangers write them, of which the suites are made."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import selfnorm as sn

_Net = TypeVar("_Net", bound=nn.Module)


def lecun(model: _Net) -> _Net:
    """Start as the paper asks, by plain torch."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=1.0 / math.sqrt(fan_in))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def mlp(
    depth: int = 5, width: int = 96, act: Callable[[], nn.Module] = nn.SELU, *extra: Any
) -> nn.Sequential:
    """Plain network; ``extra`` are makers of modules after each activation."""
    layers: list[nn.Module] = []
    size = 30
    for _ in range(depth):
        layers += [nn.Linear(size, width), act(), *(make() for make in extra)]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, 7))


def drawn(init: Callable[[Tensor], Any]) -> nn.Module:
    net = mlp()
    for module in net:
        if isinstance(module, nn.Linear):
            init(module.weight)
            nn.init.zeros_(module.bias)
    return net


class Functional(nn.Module):
    """Activation, dropout and sums as functions; nothing but linear layers are modules."""

    def __init__(self, drop: Callable[..., Tensor] | None = None) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(30, 80), nn.Linear(80, 80)
        self.out = nn.Linear(80, 3)
        self.drop = drop

    def forward(self, x: Tensor) -> Any:
        for layer in (self.fc1, self.fc2):
            x = F.selu(layer(x))
            if self.drop is not None:
                x = self.drop(x, 0.15, self.training)
        return self.out(x)


class AlphaOff(Functional):
    def forward(self, x: Tensor) -> Any:
        x = F.alpha_dropout(F.selu(self.fc1(x)), 0.1)
        return self.out(F.selu(self.fc2(x)))


class Residual(nn.Module):
    def __init__(self, blocks: int = 6, share: float | None = None) -> None:
        super().__init__()
        self.stem = nn.Linear(30, 72)
        self.blocks = nn.ModuleList([nn.Linear(72, 72) for _ in range(blocks)])
        self.head = nn.Linear(72, 4)
        self.share = share

    def forward(self, x: Tensor) -> Any:
        x = F.selu(self.stem(x))
        for block in self.blocks:
            new = F.selu(block(x))
            s = self.share
            x = x + new if s is None else math.sqrt(1 - s) * x + math.sqrt(s) * new
        return self.head(x)


class FlowMatching(nn.Module):
    """Velocity field v(x, t): the usual example of conditional flow matching."""

    def __init__(self, dim: int = 2, width: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim + 1, width),
            nn.SELU(),
            nn.Linear(width, width),
            nn.SELU(),
            nn.Linear(width, width),
            nn.SELU(),
            nn.Linear(width, dim),
        )

    def forward(self, x: Tensor, t: Tensor) -> Any:
        if t.dim() == 1:
            t = t[:, None]
        return self.net(torch.cat([x, t], dim=-1))


def conv_net(*, padding: int = 0, pool: type[nn.Module] | None = None, **kw: Any) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for _ in range(4):
        layers += [nn.Conv2d(channels, 24, 3, padding=padding, **kw), nn.SELU()]
        if pool is not None:
            layers.append(pool(2))
        channels = 24
    return lecun(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)))


class BasicBlock(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(
                nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)
            )

    def forward(self, x: Tensor) -> Any:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layers = nn.Sequential(BasicBlock(16, 16, 1), BasicBlock(16, 32, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.avgpool(self.layers(x))
        return self.fc(torch.flatten(x, 1))


class SeluHead(nn.Module):
    """ReLU encoder, SELU head: only the head is SELU's business."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = ResNet()
        self.head = nn.Sequential(nn.Linear(10, 64), nn.SELU(), nn.Linear(64, 64), nn.SELU())
        self.out = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.encoder(x)
        return {"risk": self.out(self.head(features)), "features": features}


class LstmHead(nn.Module):
    """A recurrent part, and a head of SELUs on all its steps or on the last."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 40, batch_first=True)
        self.head = lecun(nn.Sequential(nn.Linear(40, 64), nn.SELU(), nn.Linear(64, 2)))
        self.last = last

    def forward(self, x: Tensor) -> Any:
        hidden, _ = self.rnn(x)
        return self.head(hidden[:, -1] if self.last else hidden)


class BackboneHead(nn.Module):
    """A frozen part of ReLUs and a pool, and a head of SELUs; ``between`` stands before it."""

    def __init__(self, between: nn.Module | None = None) -> None:
        super().__init__()
        convs = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 50, 3), nn.ReLU()]
        self.backbone = nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.backbone.requires_grad_(False)
        self.between = nn.Identity() if between is None else between
        head = [nn.Linear(50, 64), nn.SELU(), nn.Linear(64, 64), nn.SELU(), nn.Linear(64, 2)]
        self.head = lecun(nn.Sequential(*head))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.between(self.backbone(x)))


def standardised_backbone() -> nn.Module:
    model = BackboneHead()
    with torch.no_grad():
        features = model.backbone(images())
    model.between = sn.nn.StandardizedInput.from_data(features)
    return model


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 24)
        self.rnn = nn.LSTM(24, 32, batch_first=True, num_layers=2, dropout=0.2)
        self.gru = nn.GRU(32, 16, batch_first=True)
        self.out = nn.Linear(16, 9)

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        hidden, state = self.rnn(self.embed(x))
        hidden, _ = self.gru(hidden)
        return self.out(hidden), state


class Branching(nn.Module):
    """Control flow that depends on data: no symbolic trace."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(30, 60), nn.Linear(60, 60)

    def forward(self, x: Tensor) -> Any:
        x = torch.selu(self.a(x))
        if x.abs().max() > 1e9:
            return x
        return torch.selu(self.b(x))


class SNNBlock(nn.Module):
    """The "SNN block" of pathology and genomics code: ELU and alpha dropout."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [200, 64, 64]
        self.fc = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(a, b), nn.ELU(), nn.AlphaDropout(p=0.25, inplace=False))
                for a, b in itertools.pairwise(sizes)
            )
        )
        self.classifier = nn.Linear(64, 4)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.weight.data.normal_(0, 1.0 / math.sqrt(module.weight.size(1)))
                module.bias.data.zero_()

    def forward(self, x: Tensor) -> Any:
        return self.classifier(self.fc(x))


def lightning_module() -> nn.Module:
    import pytorch_lightning as lightning

    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = mlp(3)

        def forward(self, x: Tensor) -> Any:
            return self.model(x)

    return Lit()


def trained(model: _Net, steps: int = 60, keep: float = 1.0) -> _Net:
    """Train by plain gradient descent; then scale the weights, as weight decay does."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(512, 30, generator=generator)
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0).long()
    for step in range(steps):
        rows = slice(64 * (step % 8), 64 * (step % 8) + 64)
        loss = F.cross_entropy(model(x[rows]), y[rows])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.sub_(0.05 * gradient)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(keep)
    return model


def shared_twice() -> nn.Module:
    layer = nn.Linear(30, 30)
    act = nn.SELU()
    return lecun(nn.Sequential(layer, act, layer, act, nn.Linear(30, 2)))


class Transformer(nn.Module):
    def __init__(self, act: Any = F.gelu) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, activation=act, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.embed, self.out = nn.Embedding(40, 32), nn.Linear(32, 5)

    def forward(self, tokens: Tensor) -> Any:
        return self.out(self.encoder(self.embed(tokens)).mean(1))


class Gated(nn.Module):
    """Highway: gates multiply, and their sum is no residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.h = nn.ModuleList([nn.Linear(30, 30) for _ in range(3)])
        self.t = nn.ModuleList([nn.Linear(30, 30) for _ in range(3)])
        lecun(self)

    def forward(self, x: Tensor) -> Any:
        for h, t in zip(self.h, self.t, strict=True):
            gate = torch.sigmoid(t(x))
            x = gate * F.selu(h(x)) + (1 - gate) * x
        return x


class TimeEmbedding(nn.Module):
    """h + embedding(t) adds another signal, not the block's own input."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.t = nn.Linear(30, 64), nn.Linear(1, 64)
        self.mid, self.out = nn.Linear(64, 64), nn.Linear(64, 30)
        lecun(self)

    def forward(self, x: Tensor, t: Tensor) -> Any:
        hidden = F.selu(math.sqrt(0.5) * (self.x(x) + self.t(t)))
        return self.out(F.selu(self.mid(hidden)))


class WideAndDeep(nn.Module):
    """A linear model and a deep one, added at the output."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.deep = nn.Linear(30, 1), lecun(mlp(3))
        self.last = nn.Linear(7, 1)

    def forward(self, x: Tensor) -> Any:
        return self.wide(x) + self.last(self.deep(x))


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(30, 90), nn.SELU(), nn.Linear(90, 40), nn.SELU())
        self.decoder = nn.Sequential(nn.Linear(40, 90), nn.SELU(), nn.Linear(90, 30))
        lecun(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return self.decoder(code), code


class BrainFloat(nn.Module):
    """Element-wise: linear layers in bfloat16 need instructions that not every processor has."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(30, dtype=torch.bfloat16))
        self.act = nn.SELU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(x * self.gain)
        return out


def half_in_place() -> nn.Module:
    return lecun(mlp(3, 96, lambda: nn.SELU(inplace=True))).to(torch.float16)


def standard(rows: int = 200, features: int = 30) -> Tensor:
    return torch.randn(rows, features, generator=torch.Generator().manual_seed(9))


def images() -> Tensor:
    return standard(6 * 3, 256).reshape(6, 3, 16, 16)


def steps() -> Tensor:
    return standard(40 * 11, 6).reshape(40, 11, 6)


def pooled() -> nn.Module:
    return nn.Sequential(
        sn.nn.ConvSELU2d(3, 16, 3),
        sn.nn.MaxPool2d(2),
        sn.nn.ConvSELU2d(16, 24, 3),
        sn.nn.AvgPool2d(2),
        sn.nn.ConvSELU2d(24, 24, 3),
        nn.Flatten(),
        nn.Linear(24 * 16, 3),
    )


def one_hot() -> Tensor:
    classes = torch.randint(30, (300,), generator=torch.Generator().manual_seed(2))
    return F.one_hot(classes, 30).float()


class WrittenSELU(nn.Module):
    """SELU as blogs write it."""

    def forward(self, x: Tensor) -> Any:
        alpha, scale = 1.6732632423543772, 1.0507009873554805
        return scale * torch.where(x >= 0.0, x, alpha * torch.exp(x) - alpha)


class ClampedSELU(nn.Module):
    def forward(self, x: Tensor) -> Any:
        zero = torch.zeros_like(x)
        return 1.0507 * (torch.max(zero, x) + torch.min(zero, 1.6733 * (torch.exp(x) - 1.0)))


class ScaledELU(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return 1.0507 * F.elu(x, 1.6733)


class VAE(nn.Module):
    """Samples in the middle: exp(log-variance / 2) is no SELU."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.mu, self.log_var = nn.Linear(30, 60), nn.Linear(60, 8), nn.Linear(60, 8)
        self.dec, self.out = nn.Linear(8, 60), nn.Linear(60, 30)
        lecun(self)

    def forward(self, x: Tensor) -> Any:
        h = F.selu(self.enc(x))
        mu, log_var = self.mu(h), self.log_var(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * log_var)
        return self.out(F.selu(self.dec(z))), mu, log_var


class GraphNet(nn.Module):
    """Features are mixed by an adjacency matrix that is an input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(30, 48), nn.Linear(48, 48), nn.Linear(48, 2)

    def forward(self, x: Tensor, adjacency: Tensor) -> Any:
        x = F.selu(adjacency @ self.a(x))
        return self.out(F.selu(adjacency @ self.b(x)))


class ReZero(nn.Module):
    """Residual sums with a learned factor that starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(30, 30) for _ in range(6)])
        self.factors, self.out = nn.Parameter(torch.zeros(6)), nn.Linear(30, 1)
        lecun(self)

    def forward(self, x: Tensor) -> Any:
        for layer, factor in zip(self.layers, self.factors, strict=True):
            x = x + factor * F.selu(layer(x))
        return self.out(x)


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(30 + 20 * k, 20) for k in range(4)])
        lecun(self)

    def forward(self, x: Tensor) -> Any:
        for layer in self.layers:
            x = torch.cat([x, F.selu(layer(x))], 1)
        return x


class VisionBlock(nn.Module):
    """Transformer block with a SELU feed-forward part: its norms serve the attention."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(32, 80), nn.SELU(), nn.Dropout(0.1), nn.Linear(80, 32))

    def forward(self, x: Tensor) -> Any:
        h = self.norm1(x)
        x = x + self.attention(h, h, h)[0]
        return x + self.mlp(self.norm2(x))


def graph_data() -> tuple[Tensor, Tensor]:
    return standard(50), torch.eye(50)
