"""Any known activation, made self-normalizing by an affine map of its input and output."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from selfnorm import theory
from selfnorm.errors import DomainError

__all__ = ["SelfNormalized"]


def _identity(x: Tensor) -> Tensor:
    return x


def _celu(x: Tensor, alpha: float) -> Tensor:
    # torch's own rounds 1/alpha to float32 in the gradient.
    return alpha * functional.elu(x / alpha)


def _selu(x: Tensor, alpha: float, scale: float) -> Tensor:
    return scale * functional.elu(x, alpha)


def _serlu(x: Tensor, alpha: float, scale: float) -> Tensor:
    negative = x.clamp(max=0.0)
    return scale * torch.where(x > 0, x, alpha * negative * torch.exp(negative))


# The functions of selfnorm.theory.activation, by torch; parameters are passed by name.
_FUNCTIONS: Final[dict[str, Callable[..., Tensor]]] = {
    "asinh": torch.asinh,
    "atan": torch.atan,
    "celu": _celu,
    "elu": functional.elu,
    "erf": torch.erf,
    "gelu": functional.gelu,
    "hardtanh": functional.hardtanh,
    "identity": _identity,
    "leaky_relu": functional.leaky_relu,
    "mish": functional.mish,
    "relu": functional.relu,
    "selu": _selu,
    "serlu": _serlu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "sin": torch.sin,
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "tanh": torch.tanh,
}
_METHODS: Final = ("standardize", "bidirectional", "dks", "tat")


class _Numbers(NamedTuple):
    """The affine maps of one method."""

    input_scale: float
    input_shift: float
    output_shift: float
    output_scale: float
    parameters: tuple[tuple[str, float], ...]
    stable: bool
    reason: str


class SelfNormalized(torch.nn.Module):
    r"""An activation made self-normalizing for pre-activations of mean 0 and variance 1.

    .. math:: g(x) = \mathrm{output\_scale} \, (f(\mathrm{input\_scale} \, x
              + \mathrm{input\_shift}) + \mathrm{output\_shift})

    Parameters
    ----------
    activation : str
        Name of f: one of :func:`selfnorm.theory.activation_names`, but not "prelu", whose slope
        is learned.
    method : {"standardize", "bidirectional", "dks", "tat"}
        How the four numbers are found: :func:`selfnorm.theory.standardize` (mean 0, variance 1),
        :func:`selfnorm.theory.bidirectional` (second moment 1 and gradient gain 1, for orthogonal
        weights), or :func:`selfnorm.theory.tailor` for networks of a given depth.
    depth : int, optional
        Number of layers; needed by "dks" and "tat", refused by the others.
    zeta : float
        For "dks": slope at 1 of the whole network's correlation map, greater than 1.
    eta : float
        For "tat": correlation of uncorrelated inputs after all layers, between 0 and 1.
    branch : str, optional
        Which of several solutions; see ``bidirectional`` and ``tailor`` for the names.
    **parameters : float
        Parameters of f, such as ``alpha=0.5`` for "elu"; see :func:`selfnorm.theory.activation`.

    Attributes
    ----------
    input_scale, input_shift, output_shift, output_scale : float
        The four numbers of the formula.
    stable : bool
        Whether the moments are restored after a deviation. It is False for GELU, SiLU, Mish and
        softplus standardised, where (0, 1) repels, and for "dks" and "tat", which are neutral by
        design.
    reason : str
        The same in words.
    function_parameters : dict of str to float
        The parameters of f in use; for "tat" the negative slope found.

    Raises
    ------
    DomainError
        If the activation or method is not known, the method does not apply to the activation, or
        an argument is missing, superfluous or outside its domain.
    ConvergenceError
        If "dks" finds no solution.

    Notes
    -----
    Shape: any, kept, as is the dtype. No learned parameters and no state: the numbers are
    constants. Weights shall have sum of squares 1 per unit
    (:func:`selfnorm.init.lecun_normal_`), biases 0. No warning is given for a point that repels:
    ask ``stable``. In bfloat16 the affine maps are rounded like any other operation.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515. Lu et
    al., arXiv:2006.12169. Martens et al., arXiv:2110.01765. Zhang et al., arXiv:2203.08120.

    Examples
    --------
    >>> import torch
    >>> tanh = SelfNormalized("tanh")
    >>> tanh
    SelfNormalized('tanh', method='standardize', output_scale=1.59254, stable=True)
    >>> tanh(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([-1.2129,  0.0000,  1.5352])
    >>> SelfNormalized("gelu").reason
    'repelling: a deviation of the variance from 1 grows by the factor 1.06212 per layer'
    """

    def __init__(
        self,
        activation: str,
        *,
        method: str = "standardize",
        depth: int | None = None,
        zeta: float = 1.5,
        eta: float = 0.9,
        branch: str | None = None,
        **parameters: float,
    ) -> None:
        super().__init__()
        _check(activation, method, depth, branch)
        f = theory.activation(activation, **parameters)
        for name, value in (("zeta", zeta), ("eta", eta)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise DomainError(f"{name} must be a number, however: {name}={value!r}")
        self.activation = activation
        self.method = method
        self.depth = depth
        found = _numbers(activation, tuple(f.parameters.items()), method, depth, zeta, eta, branch)
        self.input_scale = found.input_scale
        self.input_shift = _clean(found.input_shift)
        self.output_shift = _clean(found.output_shift)
        self.output_scale = found.output_scale
        self.stable = found.stable
        self.reason = found.reason
        self.function_parameters = dict(found.parameters)
        # TAT makes a ReLU leaky.
        name = "leaky_relu" if method == "tat" else activation
        self._function = functools.partial(_FUNCTIONS[name], **self.function_parameters)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the affine map, the function and the other affine map.

        Parameters
        ----------
        x : Tensor
            Pre-activations of a floating-point dtype, of any shape.

        Returns
        -------
        Tensor
            Activations of the same shape and dtype.
        """
        y = self._function(self.input_scale * x + self.input_shift)
        return self.output_scale * (y + self.output_shift)

    def extra_repr(self) -> str:
        """Show the method, what differs from the plain activation, and stability."""
        parts = [repr(self.activation), f"method={self.method!r}"]
        if self.depth is not None:
            parts.append(f"depth={self.depth}")
        parts += [f"{name}={value:g}" for name, value in self.function_parameters.items()]
        for name, plain in _PLAIN.items():
            if abs(getattr(self, name) - plain) > _ROUNDING:
                parts.append(f"{name}={getattr(self, name):g}")
        return ", ".join([*parts, f"stable={self.stable}"])


_ROUNDING: Final = 1e-12
_PLAIN: Final = {"input_scale": 1.0, "input_shift": 0.0, "output_shift": 0.0, "output_scale": 1.0}


def _clean(shift: float) -> float:
    """Turn a shift that is nothing but rounding, as for odd functions, into 0."""
    return shift if abs(shift) > _ROUNDING else 0.0


def _check(activation: Any, method: Any, depth: Any, branch: Any) -> None:
    if activation == "prelu":
        raise DomainError(
            "activation must keep its shape, however: activation='prelu' learns its slope, so that "
            "constants computed for one slope would be wrong at the next step; use 'leaky_relu' "
            "with negative_slope=…"
        )
    if not isinstance(activation, str) or activation not in _FUNCTIONS:
        raise DomainError(
            f"activation must be one of {', '.join(_FUNCTIONS)}, however: "
            f"activation={activation!r}; for a function of your own take the numbers of "
            "selfnorm.theory.standardize(callable)."
        )
    if method not in _METHODS:
        raise DomainError(
            f"method must be one of {', '.join(_METHODS)}, however: method={method!r}; "
            "standardize gives mean 0 and variance 1."
        )
    if (depth is None) == (method in ("dks", "tat")):
        remedy = "drop it" if depth is not None else "give the number of layers as depth=…"
        raise DomainError(
            f"depth must be given for the methods dks and tat and for no other, however: "
            f"method={method!r}, depth={depth!r}; {remedy}."
        )
    if branch is not None and method not in ("bidirectional", "dks"):
        raise DomainError(
            f"branch must be left out for method={method!r}, which has one solution, however: "
            f"branch={branch!r}; drop it."
        )


@functools.lru_cache(maxsize=256)
def _numbers(
    name: str,
    parameters: tuple[tuple[str, float], ...],
    method: str,
    depth: int | None,
    zeta: float,
    eta: float,
    branch: str | None,
) -> _Numbers:
    """Solve once for all layers of a network."""
    f = theory.activation(name, **dict(parameters))
    if method == "standardize":
        s = theory.standardize(f)
        return _Numbers(1.0, 0.0, s.shift / s.gain, s.gain, parameters, s.stable, s.reason)
    if method == "bidirectional":
        b = theory.bidirectional(f, branch=branch or "small")
        return _Numbers(1.0, 0.0, b.shift / b.scale, b.scale, parameters, b.stable, b.reason)
    t = theory.tailor(
        f, depth or 0, zeta, method=method, eta=eta, branch=branch or "small_input_scale"
    )
    return _Numbers(
        t.input_scale,
        t.input_shift,
        t.output_shift,
        t.output_scale,
        tuple(t.activation.parameters.items()),
        stable=False,
        reason="neutral by design: a deviation of the second moment neither shrinks nor grows",
    )
