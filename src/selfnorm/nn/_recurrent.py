"""Recurrent layers whose state keeps its moments from step to step."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils.rnn import PackedSequence

from selfnorm import functional, init, theory
from selfnorm.errors import DomainError
from selfnorm.functional._checks import check_rate, is_number
from selfnorm.nn._checks import check_dtype, check_generator, check_size

__all__ = ["SELURNN", "SELURNNCell", "StateMoments"]

_ACTIVATIONS: Final = ("selu", "elu")


class StateMoments(NamedTuple):
    """Predicted moments of a recurrent state, step by step.

    Parameters
    ----------
    mean, var : numpy.ndarray, shape (steps,)
        Mean and variance of the state after each step, pooled over units and rows.

    Examples
    --------
    >>> SELURNNCell(3, 5).predict(2).var.round(6)
    array([1., 1.])
    """

    mean: NDArray[np.float64]
    var: NDArray[np.float64]


class SELURNNCell(nn.Module):
    r"""One step of a recurrent net whose state keeps mean 0 and variance 1.

    .. math:: h' = f(W_h h + W_x x + b), \qquad
              W_h W_h^T = m^2 g^2 I, \quad \mathrm{Var}\, w_x = (1 - m^2) / n_x

    A pre-activation gets the share m² of its variance from the state and 1 - m² from the input
    (cosine and sine of one angle), so that inputs of mean square 1 hold it at 1 at each step. For
    SELU the state has mean 0 and variance 1 and g = 1. ELU has no such fixed point: g makes up for
    the mean square that it loses, and the state keeps mean 0.16 and variance 0.62.

    Parameters
    ----------
    in_features, hidden_features : int
        Numbers of inputs and of units in the state, at least 1.
    bias : bool
        Whether there is a bias. It starts at zero.
    activation : {"selu", "elu"}
        The function f; ELU with alpha = 1.
    memory : float, optional
        The share m (not its square) of the state, at least 0 and below 1. Default: the m at which a
        squared gradient neither grows nor shrinks from step to step,
        :math:`m^2 g^2\, \mathrm{E} f'(z)^2 = 1`: 0.96603 for SELU, 0.98252 for ELU. What is
        forgotten sooner wants a smaller one.
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    weight_hh : torch.nn.Parameter
        Shape (hidden_features, hidden_features); starts as m g times an orthogonal matrix.
    weight_ih : torch.nn.Parameter
        Shape (hidden_features, in_features); starts as LeCun normal times sqrt(1 - m²).
    bias : torch.nn.Parameter or None
        Shape (hidden_features,).
    memory : float
        The share m.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or an input has another shape.

    Notes
    -----
    Shape: input (N, in_features) or (in_features,), state (N, hidden_features) or
    (hidden_features,), and the new state likewise. The shares hold at initialisation; training may
    move them.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515; Chen,
    Pennington, Schoenholz, "Dynamical Isometry and a Mean Field Theory of RNNs", ICML 2018,
    arXiv:1806.05394.

    Examples
    --------
    >>> import torch
    >>> cell = SELURNNCell(3, 64, memory=0.8)
    >>> cell(torch.zeros(5, 3), torch.zeros(5, 64)).shape
    torch.Size([5, 64])
    """

    weight_hh: Parameter
    weight_ih: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        bias: bool = True,
        *,
        activation: str = "selu",
        memory: float | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_size("in_features", in_features, 1)
        self.hidden_features = check_size("hidden_features", hidden_features, 1)
        if activation not in _ACTIVATIONS:
            raise DomainError(
                f"activation must be 'selu' or 'elu', however: activation={activation!r}; for "
                "others use torch.nn.RNN"
            )
        check_dtype(dtype)
        check_generator(generator)
        self.activation = activation
        after = theory.moments(activation, 0.0, 1.0)
        self._gain = 1.0 / math.sqrt(float(after.var + after.mean**2))
        self._input_gain = 1.0  # of a layer that reads another one's activations: _gain
        self.memory = self._neutral_memory() if memory is None else _check_memory(memory)
        self.weight_ih = Parameter(
            torch.empty(hidden_features, in_features, device=device, dtype=dtype)
        )
        self.weight_hh = Parameter(
            torch.empty(hidden_features, hidden_features, device=device, dtype=dtype)
        )
        if bias:
            self.bias = Parameter(torch.empty(hidden_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters(generator)

    def _neutral_memory(self) -> float:
        slope = float(theory.gradient_gain(self.activation, 0.0, 1.0))
        return 1.0 / (self._gain * math.sqrt(slope))

    def _read_activations(self, generator: torch.Generator | None) -> None:
        """Scale the input weights for inputs that come from another cell of this kind."""
        self._input_gain = self._gain
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew and set the bias to zero."""
        share = self._input_gain * math.sqrt(1.0 - self.memory**2)
        init.lecun_normal_(self.weight_ih, gain=share, generator=generator)
        init.scaled_orthogonal_(self.weight_hh, gain=self.memory * self._gain, generator=generator)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def predict(
        self,
        steps: int,
        *,
        mean: float = 0.0,
        var: float = 1.0,
        state: tuple[float, float] | None = None,
    ) -> StateMoments:
        """Predict the moments of the state after each step, as initialised, by mean field theory.

        Parameters
        ----------
        steps : int
            Number of steps, at least 1.
        mean, var : float
            Moments of the inputs, pooled over features, rows and steps.
        state : (float, float), optional
            Mean and variance of the state before the first step; (0, 0) is a state of zeros.
            Default: the moments that the activation gives to a normal variable of variance 1,
            as :class:`SELURNN` begins.

        Returns
        -------
        StateMoments
            Mean and variance by step.

        Raises
        ------
        DomainError
            If an argument lies outside its domain.

        Notes
        -----
        Exact for infinitely wide states; pre-activations have the variance
        m² g² E h² + (1 - m²) E x².

        Examples
        --------
        >>> SELURNNCell(3, 5, memory=0.6).predict(3, state=(0, 0)).var.round(4)
        array([0.7034, 0.9156, 0.9761])
        """
        check_size("steps", steps, 1)
        at_target = theory.moments(self.activation, 0.0, 1.0)
        m, v = (at_target.mean, at_target.var) if state is None else state
        recurrent = (self.memory * self._gain) ** 2
        share = self._input_gain**2 * (1.0 - self.memory**2)
        path = []
        for _ in range(steps):
            q = recurrent * (v + m * m) + share * (var + mean * mean)
            after = theory.moments(self.activation, 0.0, q)
            m, v = float(after.mean), float(after.var)
            path.append((m, v))
        means, variances = np.array(path).T
        return StateMoments(means.copy(), variances.copy())

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Return the next state; without a state before it, from zeros."""
        if x.dim() not in (1, 2) or x.shape[-1] != self.in_features:
            raise DomainError(
                f"input must have shape (N, {self.in_features}) or ({self.in_features},), however: "
                f"input.shape={tuple(x.shape)}; a whole sequence goes to SELURNN"
            )
        if state is None:
            state = x.new_zeros((*x.shape[:-1], self.hidden_features))
        if state.shape != (*x.shape[:-1], self.hidden_features):
            raise DomainError(
                f"state must have shape {(*x.shape[:-1], self.hidden_features)} beside an input of "
                f"shape {tuple(x.shape)}, however: state.shape={tuple(state.shape)}"
            )
        return self._step(self._project(x), state)

    def _project(self, x: Tensor) -> Tensor:
        """Return the inputs' part of the pre-activations, for all steps at once."""
        return nn.functional.linear(x, self.weight_ih, self.bias)

    def _step(self, projected: Tensor, state: Tensor) -> Tensor:
        pre = projected + state @ self.weight_hh.T
        if self.activation == "selu":
            return functional.selu(pre)
        return functional.elu(pre)

    def extra_repr(self) -> str:
        """Show the sizes and the shares."""
        return (
            f"in_features={self.in_features}, hidden_features={self.hidden_features}, "
            f"bias={self.bias is not None}, activation={self.activation!r}, "
            f"memory={self.memory:.5g}"
        )


class SELURNN(nn.Module):
    """Layers of :class:`SELURNNCell` over whole sequences.

    Parameters
    ----------
    in_features, hidden_features : int
        Numbers of inputs per step and of units per layer, at least 1.
    num_layers : int
        Layers, at least 1; each reads the states of the one before.
    bias : bool
        Whether the layers have biases.
    batch_first : bool
        Whether inputs and outputs are (N, T, features) or, as torch's default, (T, N, features).
    activation : {"selu", "elu"}
        The activation of all layers.
    memory : float, optional
        Share of the state, see :class:`SELURNNCell`.
    dropout : float
        Probability of dropping in training, from 0 to 1: alpha dropout for SELU, ordinary
        dropout for ELU. It acts on what a layer hands on, the last one too, and never on the
        state that it hands to its own next step.
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    cells : torch.nn.ModuleList
        One cell per layer.
    initial_state : torch.nn.Parameter
        State before the first step if none is given, shape (num_layers, hidden_features); learned.
        It starts as activations of normal numbers, hence with the moments of the fixed point:
        a state of zeros would need some thirty steps to get there.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, an input has another shape, or a sequence has no
        step.

    Notes
    -----
    Shape: input (N, T, in_features) with ``batch_first``, else (T, N, in_features), or unbatched
    (T, in_features), or a ``PackedSequence``; T at least 1. Returns ``(output, state)``: the
    states of the last layer at all steps, after dropout, of the input's form; and all layers'
    states after the last step of each sequence, (num_layers, N, hidden_features), without
    dropout. A state passed in has the latter's shape.

    Examples
    --------
    >>> import torch
    >>> layer = SELURNN(3, 64, num_layers=2, batch_first=True)
    >>> output, state = layer(torch.zeros(5, 7, 3))
    >>> output.shape, state.shape
    (torch.Size([5, 7, 64]), torch.Size([2, 5, 64]))
    """

    initial_state: Parameter

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        *,
        activation: str = "selu",
        memory: float | None = None,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_size("in_features", in_features, 1)
        self.hidden_features = check_size("hidden_features", hidden_features, 1)
        self.num_layers = check_size("num_layers", num_layers, 1)
        self.batch_first = batch_first
        self.dropout = check_rate("dropout", dropout)
        self.cells = nn.ModuleList(
            SELURNNCell(
                in_features if index == 0 else hidden_features,
                hidden_features,
                bias,
                activation=activation,
                memory=memory,
                generator=generator,
                device=device,
                dtype=dtype,
            )
            for index in range(num_layers)
        )
        for cell in list(self.cells)[1:]:
            assert isinstance(cell, SELURNNCell)
            cell._read_activations(generator)
        self.activation = activation
        self.initial_state = Parameter(
            torch.empty(num_layers, hidden_features, device=device, dtype=dtype)
        )
        self._draw_state(generator)

    def _draw_state(self, generator: torch.Generator | None) -> None:
        with torch.no_grad():
            self.initial_state.normal_(generator=generator)
            f = functional.selu if self.activation == "selu" else functional.elu
            self.initial_state.copy_(f(self.initial_state))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights and the initial state anew."""
        for cell in self.cells:
            assert isinstance(cell, SELURNNCell)
            cell.reset_parameters(generator)
        self._draw_state(generator)

    def forward(
        self, x: Tensor | PackedSequence, state: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Run the layers over the sequences."""
        if isinstance(x, PackedSequence):
            data, sizes = x.data, x.batch_sizes.tolist()
            self._check_input(tuple(data.shape[1:]), tuple(data.shape), "input.data")
            start = self._start(state, sizes[0], data)
            if x.sorted_indices is not None:
                start = start.index_select(1, x.sorted_indices)
            out, last = self._run(data, sizes, start)
            if x.unsorted_indices is not None:
                last = last.index_select(1, x.unsorted_indices)
            return PackedSequence(out, x.batch_sizes, x.sorted_indices, x.unsorted_indices), last
        shape = tuple(x.shape)
        batched = x.dim() == 3
        self._check_input(shape[-1:] if x.dim() in (2, 3) else (), shape, "input")
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        if not batched:
            x = x.unsqueeze(1)
            state = state.unsqueeze(1) if state is not None and state.dim() == 2 else state
        steps, rows = x.shape[:2]
        if steps == 0:
            raise DomainError(
                f"a sequence must have at least one step, however: input.shape={shape} with "
                f"batch_first={self.batch_first}; leave empty sequences out"
            )
        start = self._start(state, rows, x)
        out, last = self._run(x.reshape(steps * rows, -1), [rows] * steps, start)
        out = out.reshape(steps, rows, self.hidden_features)
        if not batched:
            return out.squeeze(1), last.squeeze(1)
        return (out.transpose(0, 1) if self.batch_first else out), last

    def _run(self, data: Tensor, sizes: list[int], start: Tensor) -> tuple[Tensor, Tensor]:
        """Run all layers over steps laid end to end, of ``sizes`` rows that never increase."""
        finals = []
        for index, cell in enumerate(self.cells):
            assert isinstance(cell, SELURNNCell)
            state, steps, ended = start[index], [], []
            for part in torch.split(cell._project(data), sizes):
                if len(part) < len(state):
                    ended.append(state[len(part) :])
                    state = state[: len(part)]
                state = cell._step(part, state)
                steps.append(state)
            finals.append(torch.cat([state, *reversed(ended)]))
            data = self._drop(torch.cat(steps))
        return data, torch.stack(finals)

    def _drop(self, x: Tensor) -> Tensor:
        if self.activation == "selu":
            return functional.alpha_dropout(x, self.dropout, self.training)
        return nn.functional.dropout(x, self.dropout, self.training)

    def _start(self, state: Tensor | None, rows: int, like: Tensor) -> Tensor:
        shape = (self.num_layers, rows, self.hidden_features)
        if state is None:
            return self.initial_state.unsqueeze(1).expand(shape).to(like.dtype)
        if state.shape != shape:
            raise DomainError(
                "state must have shape (num_layers, N, hidden_features) = "
                f"{shape}, however: state.shape={tuple(state.shape)}"
            )
        return state

    def _check_input(self, features: tuple[int, ...], shape: tuple[int, ...], name: str) -> None:
        if features != (self.in_features,):
            form = "(N, T, {0})" if self.batch_first else "(T, N, {0})"
            raise DomainError(
                f"{name} must have shape {form.format(self.in_features)} or "
                f"(T, {self.in_features}), however: {name}.shape={shape}"
            )

    def extra_repr(self) -> str:
        """Show what the cells do not."""
        shown = f"batch_first={self.batch_first}"
        return shown + (f", dropout={self.dropout:g}" if self.dropout else "")


def _check_memory(memory: float) -> float:
    if not is_number(memory) or not 0 <= memory < 1:
        raise DomainError(
            "memory is the state's share of a pre-activation, a number of at least 0 and below 1, "
            f"however: memory={memory!r}; leave it out for the share at which gradients are kept"
        )
    return float(memory)
