"""One step of a recurrent net whose state keeps its moments."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import Parameter

from selfnorm import functional, init, theory
from selfnorm.errors import DomainError
from selfnorm.functional._checks import is_number
from selfnorm.nn._checks import check_dtype, check_generator, check_size

__all__ = ["SELURNNCell", "StateMoments"]

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

    def reads_activations(self) -> None:
        """Draw the next input weights for inputs that come from another cell of this kind."""
        self._input_gain = self._gain

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


def _check_memory(memory: float) -> float:
    if not is_number(memory) or not 0 <= memory < 1:
        raise DomainError(
            "memory is the state's share of a pre-activation, a number of at least 0 and below 1, "
            f"however: memory={memory!r}; leave it out for the share at which gradients are kept"
        )
    return float(memory)
