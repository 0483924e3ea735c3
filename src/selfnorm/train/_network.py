"""K networks on flat buffers: the calls of a step, laid down once and repeated.

Everything that does not change from step to step (which function, which views, which constants) is
bound when a batch size first comes. A step then is a loop over bound calls that allocates nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from selfnorm.train._activation import activate, apply_slope, fused_constants
from selfnorm.train._architecture import Architecture, effective_weights
from selfnorm.train._graph import capture
from selfnorm.train._layout import Layout
from selfnorm.train._losses import Loss

__all__ = ["Network", "Step"]

Call = Callable[[], object]


class Step:
    """What happens to one batch, up to the gradient of the parameters.

    Attributes
    ----------
    inputs : torch.Tensor
        Shape (sources * rows, features): the batch, of one source for all members or one for each.
    targets : torch.Tensor
        Shape (sources * rows, columns).
    row_weights : torch.Tensor or None
        Shape (members, 1, rows), or None if all rows weigh the same.
    values : torch.Tensor
        Shape (members, values): the raw values of the loss after `calls`.
    outputs : list of torch.Tensor
        What each hidden layer gives, shape (members, rows, units), and last the network, shape
        (members, outputs, rows); without the first dimension if there is one member.
    calls : list of callable
        The step.
    """

    inputs: Tensor
    targets: Tensor
    row_weights: Tensor | None
    values: Tensor
    outputs: list[Tensor]
    calls: list[Call]


class Network:
    """K networks of one architecture.

    Parameters
    ----------
    architecture : Architecture
        What they are.
    loss : Loss
        What they are trained on.
    keys : sequence of int
        Key of each member's dropout.
    rates : sequence of float
        Each member's probability of dropping.
    device : torch.device
        Where everything lies.
    graph : bool
        Whether steps become CUDA graphs.
    """

    def __init__(
        self,
        architecture: Architecture,
        loss: Loss,
        keys: Sequence[int],
        rates: Sequence[float],
        device: torch.device,
        graph: bool = False,
    ) -> None:
        self.architecture = architecture
        self.loss = loss
        self.members = len(keys)
        self.rates = tuple(rates)
        # SELU, ELU and ReLU with dropout of their own kind: one operator for all hidden layers.
        self._fused = fused_constants(architecture, self.rates)
        affine = [architecture.affine(rate) for rate in self.rates]
        self._affine = [a for a, _ in affine], [b for _, b in affine]
        shapes = itertools.pairwise(architecture.sizes)
        self.largest = self.members * max(m * n for m, n in shapes)  # parameters of a layer
        self.layout = Layout(architecture.sizes, architecture.bias, self.members)
        self._new = partial(torch.empty, dtype=architecture.dtype, device=device)
        self.parameters = self._new(self.layout.size).zero_()
        self.gradients = torch.zeros_like(self.parameters)
        depth = len(architecture.hidden)
        self._rng = torch.zeros(self.members, depth, 2, dtype=torch.int64, device=device)
        self._rng[..., 0] = torch.tensor(keys, device=device).unsqueeze(1)
        self.finish: list[Call] = []  # what is done to the gradient at the end of a step
        self._graph = graph
        self._spaces: dict[str, Tensor] = {}
        self._steps: dict[tuple[int, int, int], Step] = {}

    def set_step(self, steps: int) -> None:
        """Make the next step the one after so many: its random decisions depend on that alone."""
        depth = len(self.architecture.hidden)
        self._rng[..., 1] = torch.arange(depth, device=self._rng.device) + steps * depth

    # ---- training ---------------------------------------------------------------------------

    def step(self, rows: int, sources: int, columns: int, weighted: bool) -> Step:
        """Return the calls for a batch of so many rows.

        ``sources`` is 1 if all members get the same rows, else their number; ``columns`` is the
        number of columns of the targets.
        """
        key = (rows, sources, int(weighted))
        if key not in self._steps:
            self._steps[key] = self._build(rows, sources, columns, weighted)
        return self._steps[key]

    def _space(self, name: str, rows: int, units: int) -> Tensor:
        """Return working memory, which batches of all sizes share."""
        count = self.members * rows * units
        if name not in self._spaces or self._spaces[name].numel() < count:
            widest = max(self.architecture.sizes[1:]) if name.startswith("gradient") else units
            self._spaces[name] = self._new(self.members * rows * widest)
        return self._spaces[name][:count].view(self._shape(rows, units))

    def _once(self, name: str, like: Tensor) -> Tensor:
        """Return working memory of this shape, which all batch sizes share."""
        if name not in self._spaces:
            self._spaces[name] = torch.empty_like(like)
        return self._spaces[name]

    def _shape(self, rows: int, units: int) -> tuple[int, ...]:
        return (rows, units) if self.members == 1 else (self.members, rows, units)

    def _build(self, rows: int, sources: int, columns: int, weighted: bool) -> Step:
        arch, k = self.architecture, self.members
        step = Step()
        step.inputs = self._new(sources * rows, arch.sizes[0])
        step.targets = self.new_targets(sources * rows, columns)
        x, target = step.inputs, step.targets
        if k > 1:
            x = x.view(sources, rows, -1).expand(k, -1, -1)
            target = target.view(sources, rows, columns).expand(k, -1, -1)
        target = target.mT
        step.calls = []
        if arch.input_scale != 1.0:
            step.calls.append(partial(step.inputs.mul_, arch.input_scale))
        weights, after = self._standardised(self.parameters, self.gradients, step.calls)
        step.outputs = self._forward(x, weights, rows, step.calls)
        delta = self._loss(step, target, rows, weighted)
        self._backward(step, x, weights, delta)
        step.calls += [*after, *self.finish]
        if arch.hidden:
            ahead = torch.zeros_like(self._rng)
            ahead[..., 1] = len(arch.hidden)
            step.calls.append(partial(self._rng.add_, ahead))
        if self._graph:
            with torch.inference_mode():
                step.calls = capture(step.calls, self._rng)
        return step

    def new_targets(self, rows: int, columns: int) -> Tensor:
        """Return a buffer for targets."""
        dtype = torch.int64 if self.loss.integer else self.architecture.dtype
        return torch.zeros(rows, columns, dtype=dtype, device=self.parameters.device)

    def _forward(
        self, x: Tensor, weights: Sequence[Tensor], rows: int, calls: list[Call]
    ) -> list[Tensor]:
        biases = self.layout.biases(self.parameters)
        outputs = [
            self._space(f"output {layer}", rows, weight.shape[-2])
            for layer, weight in enumerate(weights[:-1])
        ]
        if outputs and self._fused:
            transposed = [weight.mT for weight in weights[:-1]]
            added = [bias for bias in biases[:-1] if bias is not None]
            alpha, scale = self._fused
            args = (x, transposed, added, self._rng, self.rates, alpha, scale, *self._affine)
            calls.append(partial(torch.ops.selfnorm.mlp_forward.default, *args, outputs))
        else:
            below = x
            for layer, z in enumerate(outputs):
                calls += _linear(below, weights[layer], biases[layer], z)
                rng = [self._rng[k, layer] for k in range(self.members)]
                calls += activate(self.architecture, z, self.rates, rng)
                below = z
        z = self._space("outputs", rows, weights[-1].shape[-2])
        z = z.view(*z.shape[:-2], z.shape[-1], rows)
        head_bias = None if biases[-1] is None else _column(biases[-1])
        calls += _linear(weights[-1], outputs[-1] if outputs else x, head_bias, z)
        return [*outputs, z]

    def _loss(self, step: Step, target: Tensor, rows: int, weighted: bool) -> Tensor:
        z, k = step.outputs[-1], self.members
        delta = torch.empty_like(z)
        calls, raw = self.loss.calls(z, target, delta)
        step.calls += calls
        _, factor = self.loss.factors(z.shape[-2])
        step.row_weights = None
        if weighted:
            # They hold the loss's factor and one over the number of rows.
            step.row_weights = self._new(k, 1, rows)
            w = step.row_weights if k > 1 else step.row_weights[0]
            step.calls += [partial(delta.mul_, w), partial(raw.mul_, w)]
        elif factor / rows != 1.0:
            # A tensor, because torch would make one of a number in every step.
            step.calls.append(partial(delta.mul_, delta.new_full((), factor / rows)))
        step.values = raw.view(k, -1)
        return delta

    def _backward(self, step: Step, x: Tensor, weights: Sequence[Tensor], delta: Tensor) -> None:
        rows = delta.shape[-1]
        belows = [x, *step.outputs[:-1]]
        deltas = [
            self._space(f"gradient {layer % 2}", rows, below.shape[-1])
            for layer, below in enumerate(belows[1:])
        ]
        deltas.append(delta.mT)
        grad_weights = self.layout.weights(self.gradients)
        grad_biases = [g for g in self.layout.biases(self.gradients) if g is not None]
        if self._fused:
            alpha, scale = self._fused
            transposed = [d.mT for d in deltas]
            args = (belows, weights, alpha, scale, *self._affine, deltas, transposed)
            backward = partial(torch.ops.selfnorm.mlp_backward.default, *args)
            step.calls.append(partial(backward, grad_weights, grad_biases))
            return
        product = torch.mm if self.members == 1 else torch.bmm
        for layer in reversed(range(len(weights))):
            d, below = deltas[layer], belows[layer]
            step.calls.append(partial(product, d.mT, below, out=grad_weights[layer]))
            if grad_biases:
                bias = grad_biases[layer]
                step.calls.append(partial(torch.sum, d, -2, bias.dim() > 1, out=bias))
            if layer == 0:
                break
            lower = deltas[layer - 1]
            step.calls.append(partial(product, d, weights[layer], out=lower))
            rng = [self._rng[k, layer - 1] for k in range(self.members)]
            step.calls += apply_slope(self.architecture, lower, below, self.rates, rng)

    def _standardised(
        self, parameters: Tensor, gradients: Tensor, calls: list[Call]
    ) -> tuple[list[Tensor], list[Call]]:
        """Return the weights that the layers use, and the calls that finish their gradients."""
        weights = self.layout.weights(parameters)
        if not self.architecture.weight_standardized:
            return weights, []
        after: list[Call] = []
        for layer, gain in enumerate(self.architecture.gains):
            v, g = weights[layer], self.layout.weights(gradients)[layer]
            used = self._once(f"used {layer}", v)
            product = self._once(f"product {layer}", v)
            mean, norm, dot = (torch.empty_like(v[..., :1]) for _ in range(3))
            calls += [
                partial(torch.mean, v, -1, True, out=mean),
                partial(torch.sub, v, mean, out=used),
                partial(torch.linalg.vector_norm, used, 2, -1, True, out=norm),
                partial(norm.div_, gain),
                partial(used.div_, norm),
            ]
            # With u = used / gain of length 1: dv = (g - mean(g) - u <g, u>) gain / |centred v|.
            after += [
                partial(torch.mul, g, used, out=product),
                partial(torch.sum, product, -1, True, out=dot),
                partial(dot.div_, gain**2),
                partial(g.addcmul_, used, dot, value=-1.0),
                partial(torch.mean, g, -1, True, out=mean),
                partial(g.sub_, mean),
                partial(g.div_, norm),
            ]
            weights[layer] = used
        return weights, after

    # ---- evaluation -------------------------------------------------------------------------

    def weights_of(self, parameters: Tensor) -> tuple[list[Tensor], list[Tensor | None]]:
        """Return the weights that layers use with these parameters, and the biases."""
        weights = self.layout.weights(parameters)
        if self.architecture.weight_standardized:
            for layer, gain in enumerate(self.architecture.gains):
                weights[layer] = effective_weights(weights[layer], gain)
        return weights, self.layout.biases(parameters)

    def evaluate(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the outputs for inputs (members or 1, rows, features), nothing dropped.

        The result has shape (members, rows, outputs).
        """
        if self.architecture.input_scale != 1.0:
            x = x * self.architecture.input_scale
        x = x[0] if self.members == 1 else x.expand(self.members, -1, -1)
        weights, biases = self.weights_of(parameters)
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            z = self._new(*self._shape(x.shape[-2], weight.shape[-2]))
            calls = _linear(x, weight, bias, z)
            if layer < len(weights) - 1:
                calls += activate(self.architecture, z)
            for call in calls:
                call()
            x = z
        return x.unsqueeze(0) if self.members == 1 else x


def _column(bias: Tensor) -> Tensor:
    """Return (…, 1, units) or (units,) as (…, units, 1)."""
    return bias.unsqueeze(1) if bias.dim() == 1 else bias.mT


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> list[Call]:
    if x.dim() == 2 and bias is not None:
        # The product adds the bias on its way.
        return [partial(torch.addmm, bias, x, weight.mT, out=out)]
    product = torch.mm if x.dim() == 2 else torch.bmm
    calls: list[Call] = [partial(product, x, weight.mT, out=out)]
    # Here it would copy the bias to every row first.
    return calls if bias is None else [*calls, partial(out.add_, bias)]
