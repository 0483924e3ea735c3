"""Activation functions by name, or made of a Python callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from selfnorm.errors import DomainError
from selfnorm.theory._activation_registry import REGISTRY
from selfnorm.theory._activation_type import Activation
from selfnorm.theory._callables import Checked, five_point
from selfnorm.theory._quadrature import QuadratureForm
from selfnorm.theory._validation import Array, real_number, require, shown


def activation(spec: Any, **parameters: Any) -> Activation:
    r"""Get an activation function by name, or make one of a Python callable.

    Parameters
    ----------
    spec : str, callable or Activation
        A name of `activation_names`, a callable that maps a float64 array to a float64 array of
        the same shape, or an `Activation`, which is returned as it is.
    **parameters : float
        For a name: its parameters, with these defaults: ``leaky_relu(negative_slope=0.01)``,
        ``prelu(negative_slope=0.25)``, ``elu(alpha=1)``, ``celu(alpha=1)``,
        ``selu(alpha=ALPHA01, scale=LAMBDA01)``,
        ``serlu(alpha=2.904271233329692, scale=1.078618283577227)``.
        For a callable: ``derivative`` (a callable of the same kind), ``kinks`` (places where the
        derivative jumps), ``saturation`` (limit at minus infinity) and ``name``.

    Returns
    -------
    Activation
        The function with its derivative, kinks and saturation value.

    Raises
    ------
    DomainError
        If the name or a parameter is not known, or a parameter lies outside its domain.

    Notes
    -----
    Without ``derivative`` a callable is differentiated by the five-point central rule with step
    2.5e-4 max(1, abs(x)). For smooth functions its error is about 1e-12; within two steps of a kink
    it is of the order of the jump, so that the gradient gain may be off by 1e-4 times its square.

    Examples
    --------
    >>> import numpy as np
    >>> from selfnorm.theory import activation, moments
    >>> round(activation("selu").saturation, 12)
    -1.758099340847
    >>> square = activation(np.square, derivative=lambda x: 2 * x)
    >>> round(moments(square, 0.5, 2.0).mean, 12)
    2.25
    """
    if isinstance(spec, Activation):
        if parameters:
            raise DomainError(
                f"an Activation takes no further parameters, however: {sorted(parameters)} came "
                f"with {spec.name}; make a new one by its name."
            )
        return spec
    if isinstance(spec, str):
        return _by_name(spec, parameters)
    if callable(spec):
        return _of_callable(spec, **_checked_options(parameters))
    raise DomainError(
        "an activation must be a name, a callable or an Activation, however: "
        f"activation={shown(spec)}; the names are {', '.join(activation_names())}."
    )


def activation_names() -> tuple[str, ...]:
    """List the names that `activation` knows.

    Returns
    -------
    tuple of str
        The names, in alphabetical order.

    Examples
    --------
    >>> from selfnorm.theory import activation_names
    >>> "selu" in activation_names()
    True
    """
    return tuple(sorted(REGISTRY))


def _by_name(name: str, parameters: dict[str, Any]) -> Activation:
    if name not in REGISTRY:
        raise DomainError(
            f"activation must be a known name, however: activation={shown(name)}; the names are "
            f"{', '.join(activation_names())}; or pass a Python callable."
        )
    make = REGISTRY[name]
    known = inspect.signature(make).parameters
    for key in parameters:
        if key not in known:
            accepted = ", ".join(known) or "none"
            raise DomainError(
                f"{name} has no parameter {key!r}; the parameters of {name} are: {accepted}."
            )
    values = {key: real_number(key, parameters.get(key, known[key].default)) for key in known}
    for key in ("alpha", "scale"):
        if key in values:
            require(
                values[key] > 0.0,
                key,
                parameters.get(key),
                "greater than 0",
                "use relu where the negative side shall be zero.",
            )
    return make(**values)


def _checked_options(options: dict[str, Any]) -> dict[str, Any]:
    known = ("derivative", "kinks", "name", "saturation")
    for key in options:
        if key not in known:
            raise DomainError(
                f"a callable takes {', '.join(known)}, however: {key!r} came; bind the callable's "
                "own parameters with functools.partial."
            )
    return options


def _of_callable(
    function: Callable[..., Any],
    *,
    derivative: Callable[..., Any] | None = None,
    kinks: Any = (),
    name: str | None = None,
    saturation: float | None = None,
) -> Activation:
    label = str(name or getattr(function, "__name__", type(function).__name__))
    checked = Checked(label, function)
    places = tuple(sorted(real_number("kinks", kink) for kink in np.ravel(kinks)))
    limit = None if saturation is None else real_number("saturation", saturation)
    if derivative is None:

        def slope(x: Array) -> Array:
            return five_point(checked, x)

    else:
        require(
            callable(derivative),
            "derivative",
            derivative,
            "a callable",
            "pass a function of a float64 array.",
        )
        slope = Checked(f"the derivative of {label}", derivative)
    form = QuadratureForm(label, checked, slope, places)
    return Activation(label, {}, places, limit, checked, slope, form)
