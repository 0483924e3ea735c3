"""The recurrent nets of the experiment, and what can be seen in them step by step."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from selfnorm import theory
from selfnorm.experiments._recurrent_tasks import Task
from selfnorm.experiments._uses import moments_of
from selfnorm.init import initialize_, scaled_orthogonal_

__all__ = ["RECURRENT_ARMS", "build_net", "predict_steps", "probe_steps"]

RECURRENT_ARMS: Final = ("selu", "elu", "tanh", "tanh-orthogonal", "irnn", "lstm", "gru")
_PROBE_ROWS: Final = 500
_IRNN_INPUT: Final = 0.001  # deviation of the input weights in the source of irnn


class _Net(nn.Module):
    """A recurrent layer and a linear head on its last state."""

    def __init__(self, recurrent: nn.Module, hidden: int, outputs: int) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Linear(hidden, outputs, device="meta").to_empty(device="cpu")

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.recurrent(x)
        out: Tensor = self.head(output[:, -1])
        return out


def build_net(
    arm: str, inputs: int, outputs: int, hidden: int, generator: torch.Generator
) -> nn.Module:
    """Return a net of one of ``RECURRENT_ARMS`` whose weights come from ``generator`` alone."""
    from selfnorm.nn import SELURNN

    if arm in ("selu", "elu"):
        layer = SELURNN(inputs, hidden, batch_first=True, activation=arm, generator=generator)
        net = _Net(layer, hidden, outputs)
        initialize_(net.head, generator=generator)
        return net
    core: nn.RNNBase
    if arm == "lstm":
        core = nn.LSTM(inputs, hidden, batch_first=True, device="meta")
    elif arm == "gru":
        core = nn.GRU(inputs, hidden, batch_first=True, device="meta")
    else:
        kind = "relu" if arm == "irnn" else "tanh"
        core = nn.RNN(inputs, hidden, batch_first=True, nonlinearity=kind, device="meta")
    core = core.to_empty(device="cpu")
    net = _Net(core, hidden, outputs)
    bound = 1.0 / math.sqrt(hidden)  # torch's own rule, for all of its recurrent layers
    for parameter in net.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    named = dict(core.named_parameters())
    with torch.no_grad():
        if arm == "lstm":  # gates in the order input, forget, cell, output
            named["bias_hh_l0"][hidden : 2 * hidden] = 1.0
        if arm == "tanh-orthogonal":
            scaled_orthogonal_(named["weight_hh_l0"], generator=generator)
        if arm == "irnn":
            named["weight_hh_l0"].copy_(torch.eye(hidden))
            named["weight_ih_l0"].normal_(0.0, _IRNN_INPUT, generator=generator)
            named["bias_hh_l0"].zero_()
            named["bias_ih_l0"].zero_()
    return net


def probe_steps(model: nn.Module, task: Task) -> list[dict[str, float]]:
    """Return the state's moments after each step, and how the loss's gradient gets back to it.

    ``grad`` is the mean square of the gradient by the state (of an LSTM: by both of its parts)
    over that after the last step.
    """
    assert isinstance(model, _Net)
    x, y = task.validation[0][:_PROBE_ROWS], task.validation[1][:_PROBE_ROWS]
    states: list[tuple[Tensor, ...]] = []
    state: Tensor | tuple[Tensor, ...] | None = None
    for step in range(x.shape[1]):
        _, state = model.recurrent(x[:, step : step + 1], state)
        parts = state if isinstance(state, tuple) else (state,)
        assert isinstance(parts[0], Tensor)
        states.append(parts)
    last = states[-1][0][0]
    loss = task.loss(model.head(last), y)
    flat = [part for parts in states for part in parts]
    # An LSTM's last cell state has no influence any more.
    gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True))
    squares = []
    for parts in states:
        found = [next(gradients) for _ in parts]
        squares.append(sum(float(g.double().square().sum()) for g in found if g is not None))
    top = squares[-1] or math.nan
    return [
        {**moments_of(parts[0][0]), "grad": square / top}
        for parts, square in zip(states, squares, strict=True)
    ]


def predict_steps(arm: str, model: nn.Module, task: Task) -> list[dict[str, float]]:
    """Return the moments of the state after each step as mean field theory predicts them.

    For SELU, ELU and tanh; the others' states are no function of one normal variable.
    """
    assert isinstance(model, _Net)
    squares = task.validation[0][:_PROBE_ROWS].double().square().mean(dim=(0, 2)).tolist()
    path = []
    if arm in ("selu", "elu"):
        from selfnorm.nn import SELURNN, SELURNNCell

        assert isinstance(model.recurrent, SELURNN)
        cell = model.recurrent.cells[0]
        assert isinstance(cell, SELURNNCell)
        start: tuple[float, float] | None = None
        for square in squares:
            step = cell.predict(1, mean=0.0, var=square, state=start)
            start = (float(step.mean[0]), float(step.var[0]))
            path.append(start)
    elif arm.startswith("tanh"):
        hidden, second = model.head.in_features, 0.0
        kept = 1.0 if arm == "tanh-orthogonal" else 1.0 / 3.0
        for square in squares:
            # Weights and both biases are uniform in ±1/√hidden: variance 1 / (3 hidden).
            q = kept * second + (task.in_features * square + 2.0) / (3.0 * hidden)
            after = theory.moments("tanh", 0.0, q)
            second = float(after.var + after.mean**2)
            path.append((float(after.mean), float(after.var)))
    return [{"predicted_mean": mean, "predicted_var": var} for mean, var in path]
