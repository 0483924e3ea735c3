"""What the functions refuse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from selfnorm.errors import DomainError

_DTYPES: Final = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_NUMBERS: Final = (int, float, np.integer, np.floating)


def is_number(value: object) -> bool:
    # The first question answers almost all calls.
    return type(value) is float or (isinstance(value, _NUMBERS) and not isinstance(value, bool))


def check_rate(name: str, value: float) -> float:
    """Return a probability of dropping as a float; refuse anything else."""
    if not is_number(value) or not 0 <= value <= 1:
        raise DomainError(
            f"{name} is the probability of dropping, a number in [0, 1], however: "
            f"{name}={value!r}; 0 drops nothing, 0.05 is the usual rate"
        )
    return float(value)


def check_alpha(alpha: float) -> None:
    if not is_number(alpha) or not 0 <= alpha < math.inf:
        raise DomainError(
            f"alpha must be a finite number, 0 or more, however: alpha={alpha!r}; "
            "-alpha is ELU's limit at minus infinity"
        )


def check_tensor(function: str, name: str, x: Tensor) -> None:
    if isinstance(x, Tensor) and x.dtype in _DTYPES and x.layout is torch.strided:
        return
    if not isinstance(x, Tensor):
        raise DomainError(
            f"{function} takes a torch.Tensor, however: {name} is a {type(x).__name__}; "
            "torch.as_tensor converts it"
        )
    if x.dtype not in _DTYPES:
        raise DomainError(
            f"{function} takes float64, float32, bfloat16 or float16, however: "
            f"{name}.dtype={x.dtype}; convert it with {name}.to(torch.float32)"
        )
    raise DomainError(
        f"{function} takes a dense tensor, however: {name}.layout={x.layout}; "
        f"convert it with {name}.to_dense()"
    )


def is_recorded(x: object) -> bool:
    """Return whether x only stands for a tensor while somebody writes the calls down (torch.fx)."""
    return not isinstance(x, Tensor) and has_torch_function_unary(x)


def record(function: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
    """Hand a call to him who writes down; ``arguments`` are all of them, by name."""
    x = arguments.pop("x")
    written: Tensor = handle_torch_function(function, (x,), x, **arguments)
    return written


def check_linear(x: Tensor, weight: Tensor) -> None:
    if weight.dim() != 2:
        raise DomainError(
            "weight must have shape (out_features, in_features), however: "
            f"weight.shape={tuple(weight.shape)}"
        )
    if x.dim() == 0 or x.shape[-1] != weight.shape[1]:
        raise DomainError(
            f"x must have in_features={weight.shape[1]} numbers in its last dimension, however: "
            f"x.shape={tuple(x.shape)}, weight.shape={tuple(weight.shape)}"
        )


def check_inplace(function: str, x: Tensor) -> None:
    low = x.dtype in (torch.bfloat16, torch.float16)
    if low and x.requires_grad and torch.is_grad_enabled():
        raise DomainError(
            f"{function} works in place where the slope can be rebuilt from the output, however: "
            f"x.dtype={x.dtype} and a gradient is wanted; leave out inplace=True"
        )
    if any(step == 0 and n > 1 for n, step in zip(x.shape, x.stride(), strict=True)):
        raise DomainError(
            f"{function} in place needs a place for each element, however: x is expanded, "
            f"x.shape={tuple(x.shape)}, x.stride()={x.stride()}; call x.clone() first"
        )


def check_bias(bias: Tensor, x: Tensor) -> None:
    check_tensor("selu_dropout", "bias", bias)
    if x.dim() == 0 or tuple(bias.shape) != (x.shape[-1],):
        raise DomainError(
            "bias must have one element per feature, the last dimension of x, however: "
            f"bias.shape={tuple(bias.shape)}, x.shape={tuple(x.shape)}"
        )
    if bias.device != x.device:
        raise DomainError(
            f"bias and x must be on one device, however: bias.device={bias.device}, "
            f"x.device={x.device}; move one with .to(device)"
        )


def check_generator(generator: torch.Generator | None, x: Tensor) -> None:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise DomainError(
            f"generator must be a torch.Generator, however: generator={generator!r}; "
            "make one of a seed with torch.Generator().manual_seed(seed)"
        )
    if generator is not None and generator.device.type != x.device.type:
        raise DomainError(
            "generator and x must be on one device, however: "
            f"generator.device={generator.device}, x.device={x.device}; "
            "make it with torch.Generator(device=x.device)"
        )


def mask_shape(shape: tuple[int, ...], shared_dims: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(shared_dims, tuple | list) or not all(type(d) is int for d in shared_dims):
        raise DomainError(
            "shared_dims must be a sequence of integers, as (2, 3), however: "
            f"shared_dims={shared_dims!r}"
        )
    if not shared_dims:
        return shape
    rank = len(shape)
    mask = list(shape)
    seen: set[int] = set()
    for dim in shared_dims:
        index = dim + rank if dim < 0 else dim
        if not 0 <= index < rank or index in seen:
            raise DomainError(
                f"shared_dims must name different dimensions of x, in [{-rank}, {rank - 1}], "
                f"however: shared_dims={tuple(shared_dims)}, x.shape={shape}"
            )
        seen.add(index)
        mask[index] = 1
    return tuple(mask)
