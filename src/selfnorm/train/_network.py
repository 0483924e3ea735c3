"""K networks on flat buffers: the calls of a step, laid down once and repeated.

Everything that does not change from step to step (which function, which views, which constants) is
bound when a batch size first comes. A step then is a loop over bound calls that allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from selfnorm.train._activation import activate, apply_slope, takes_bias
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
        outputs: list[Tensor] = []
        # A single member's activation can add the bias; it is faster than the product at that.
        late = self.members == 1 and takes_bias(self.architecture)
        for layer, (weight, bias) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
            z = self._space(f"output {layer}", rows, weight.shape[-2])
            calls.append(_linear(x, weight, None if late else bias, z))
            rng = [self._rng[k, layer] for k in range(self.members)]
            calls += activate(self.architecture, z, bias if late else None, self.rates, rng)
            outputs.append(z)
            x = z
        z = self._space("outputs", rows, weights[-1].shape[-2])
        z = z.view(*z.shape[:-2], z.shape[-1], rows)
        head_bias = biases[-1]
        calls.append(_linear(weights[-1], x, None if head_bias is None else _column(head_bias), z))
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
        delta = delta.mT
        product = torch.mm if self.members == 1 else torch.bmm
        ones = self._new(*self._shape(1, rows)).fill_(1.0)
        grad_weights = self.layout.weights(self.gradients)
        grad_biases = self.layout.biases(self.gradients)
        for layer in reversed(range(len(weights))):
            below = x if layer == 0 else step.outputs[layer - 1]
            step.calls.append(partial(product, delta.mT, below, out=grad_weights[layer]))
            bias = grad_biases[layer]
            if bias is not None and self.members == 1:
                step.calls.append(partial(torch.mv, delta.mT, ones[0], out=bias))
            elif bias is not None:
                step.calls.append(partial(torch.bmm, ones, delta, out=bias))
            if layer == 0:
                break
            lower = self._space(f"gradient {layer % 2}", rows, below.shape[-1])
            step.calls.append(partial(product, delta, weights[layer], out=lower))
            rng = [self._rng[k, layer - 1] for k in range(self.members)]
            step.calls += apply_slope(self.architecture, lower, below, self.rates, rng)
            delta = lower

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
            _linear(x, weight, bias, z)()
            if layer < len(weights) - 1:
                for call in activate(self.architecture, z, None):
                    call()
            x = z
        return x.unsqueeze(0) if self.members == 1 else x


def _column(bias: Tensor) -> Tensor:
    """Return (…, 1, units) or (units,) as (…, units, 1)."""
    return bias.unsqueeze(1) if bias.dim() == 1 else bias.mT


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Call:
    if bias is None:
        return partial(torch.mm if x.dim() == 2 else torch.bmm, x, weight.mT, out=out)
    # The product adds the bias on its way.
    add = torch.addmm if x.dim() == 2 else torch.baddbmm
    return partial(add, bias, x, weight.mT, out=out)
