"""The type of an activation: its function, derivative and Gaussian moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selfnorm.theory._closed_forms import Form
from selfnorm.theory._validation import Array, require

Function = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation function with its derivative and its Gaussian moments.

    Made by `activation`; call it to evaluate it.

    Parameters
    ----------
    name : str
        Name in the registry, or the name of the callable.
    parameters : mapping of str to float
        The parameters it was made with.
    kinks : tuple of float
        Where the derivative jumps. The derivative there is the one from the left.
    saturation : float or None
        Limit at minus infinity; None where there is none or it is not known.
    function : callable
        A map of float64 arrays to float64 arrays of the same shape.
    slope : callable
        The derivative, in the same form.
    form : Form
        How its Gaussian moments are computed.

    Examples
    --------
    >>> from selfnorm.theory import activation
    >>> elu = activation("elu", alpha=0.5)
    >>> elu.saturation, elu(2.0), elu.derivative(-1.0)
    (-0.5, 2.0, 0.18393972058572117)
    """

    name: str
    parameters: Mapping[str, float]
    kinks: tuple[float, ...]
    saturation: float | None
    function: Function = field(repr=False)
    slope: Function = field(repr=False)
    form: Form = field(repr=False)

    def __call__(self, x: Any) -> Any:
        """Evaluate the function.

        Parameters
        ----------
        x : float or array
            Real argument of any shape; NaN gives NaN.

        Returns
        -------
        float or array
            f(x), of the shape of x.

        Raises
        ------
        DomainError
            If x is complex or not numeric.
        """
        return _evaluate(self.function, x)

    def derivative(self, x: Any) -> Any:
        """Evaluate the derivative, at a kink the one from the left.

        Parameters
        ----------
        x : float or array
            Real argument of any shape; NaN gives NaN.

        Returns
        -------
        float or array
            f'(x), of the shape of x.

        Raises
        ------
        DomainError
            If x is complex or not numeric.

        Examples
        --------
        >>> from selfnorm.theory import activation
        >>> activation("leaky_relu").derivative([-2.0, 2.0])
        array([0.01, 1.  ])
        """
        return _evaluate(self.slope, x)


def _evaluate(function: Function, x: Any) -> Any:
    array = np.asarray(x)
    require(
        array.dtype.kind in "iuf",
        "x",
        x,
        "a real number or an array of them",
        "pass a float or a NumPy array of floats.",
    )
    with np.errstate(all="ignore"):
        result = function(array.astype(np.float64))
    return float(result) if array.ndim == 0 else result
