"""Initialisers that start a network at the hypotheses of the theory.

A unit with n inputs gets weights of expectation 0 and variance gain**2 / n, so that the sum of
its weights is 0 and the sum of their squares is gain**2 on average (LeCun initialisation; gain 1
is what SELU needs). All work in place, without a trace in the autograd graph, and return what
they were given. Random numbers come from ``generator``, or from torch's default one if none is
given.

References
----------
LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998. Klambauer, Unterthiner, Mayr,
Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515. Saxe,
McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
neural networks", ICLR 2014, arXiv:1312.6120.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.nn.utils import parametrize

from selfnorm.errors import DomainError

__all__ = ["initialize_", "lecun_normal_", "lecun_uniform_", "scaled_orthogonal_"]

_Module = TypeVar("_Module", bound=nn.Module)

# Standard deviation of a standard normal cut off at ±2: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)),
# phi and Phi the standard normal density and distribution function. 0.87962566103423978.
_CUT: Final = 2.0
_TRUNCATED_SD: Final = math.sqrt(
    1.0
    - 2.0
    * _CUT
    * math.exp(-0.5 * _CUT**2)
    / (math.sqrt(2.0 * math.pi) * math.erf(_CUT / math.sqrt(2.0)))
)


def lecun_normal_(
    tensor: Tensor,
    *,
    gain: float = 1.0,
    truncated: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Fill a weight with normal numbers of variance gain² / fan_in.

    .. math:: w \sim \mathcal{N}(0, \mathrm{gain}^2 / n), \qquad n = \text{fan\_in}

    Parameters
    ----------
    tensor : torch.Tensor
        Shape ``(out, in, *kernel)``, at least two dimensions, floating point: the weight of a
        linear or convolution layer. fan_in is the number of elements of ``tensor[0]``, which is
        right for grouped convolutions too; for transposed ones use :func:`initialize_`.
    gain : float
        Factor of the standard deviation; finite, not negative.
    truncated : bool
        Cut the normal off at ±2 standard deviations, and widen it by 1 / 0.8796256610342398 so
        that the variance is still gain² / fan_in.
    generator : torch.Generator, optional
        Source of random numbers, on the device of ``tensor``.

    Returns
    -------
    torch.Tensor
        ``tensor``, filled.

    Raises
    ------
    DomainError
        If ``tensor`` or ``gain`` lies outside its domain.

    Notes
    -----
    bfloat16 and float16 tensors are drawn in float32 and rounded.

    References
    ----------
    LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998.

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.Linear(400, 300)
    >>> w = lecun_normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    >>> round(w.square().sum(1).mean().item(), 2)
    1.0
    """
    return _fill(tensor, _truncated_normal if truncated else _normal, gain, generator)


def lecun_uniform_(
    tensor: Tensor, *, gain: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    r"""Fill a weight with uniform numbers of variance gain² / fan_in.

    .. math:: w \sim \mathcal{U}(-l, l), \qquad l = \mathrm{gain} \sqrt{3 / \text{fan\_in}}

    Parameters
    ----------
    tensor : torch.Tensor
        Shape ``(out, in, *kernel)``, at least two dimensions, floating point.
    gain : float
        Factor of the standard deviation; finite, not negative.
    generator : torch.Generator, optional
        Source of random numbers, on the device of ``tensor``.

    Returns
    -------
    torch.Tensor
        ``tensor``, filled.

    Raises
    ------
    DomainError
        If ``tensor`` or ``gain`` lies outside its domain.

    Examples
    --------
    >>> import torch
    >>> w = lecun_uniform_(torch.empty(300, 400), generator=torch.Generator().manual_seed(0))
    >>> bool(w.abs().max() <= (3 / 400) ** 0.5), round(w.square().sum(1).mean().item(), 2)
    (True, 1.0)
    """
    return _fill(tensor, _uniform, gain, generator)


def scaled_orthogonal_(
    tensor: Tensor, *, gain: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Fill a weight with a random (semi-)orthogonal matrix whose units have sum of squares gain².

    The weight is seen as a matrix (out, fan_in). With out <= fan_in its rows are orthonormal
    times gain: each unit's sum of squared weights is gain**2 exactly. With out > fan_in its
    columns are orthogonal, of length gain * sqrt(out / fan_in): the sum of squares is gain**2
    on average over the units.

    Parameters
    ----------
    tensor : torch.Tensor
        Shape ``(out, in, *kernel)``, at least two dimensions, floating point.
    gain : float
        Factor of all weights; finite, not negative.
    generator : torch.Generator, optional
        Source of random numbers, on the device of ``tensor``.

    Returns
    -------
    torch.Tensor
        ``tensor``, filled.

    Raises
    ------
    DomainError
        If ``tensor`` or ``gain`` lies outside its domain.

    Notes
    -----
    Uniform over such matrices (QR of a normal matrix, signs fixed), computed in float32 at
    least. Orthogonal layers keep the singular values of a deep network's Jacobian together
    better than independent weights do.

    References
    ----------
    Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks", ICLR 2014, arXiv:1312.6120.

    Examples
    --------
    >>> import torch
    >>> w = scaled_orthogonal_(torch.empty(3, 5), generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(w @ w.T, torch.eye(3), atol=1e-6)
    True
    """
    return _fill(tensor, _orthogonal, gain, generator)


def initialize_(
    module: _Module,
    *,
    method: str = "lecun_normal",
    gain: float = 1.0,
    generator: torch.Generator | None = None,
) -> _Module:
    """Initialise every weight of a module and set every bias to zero.

    Parameters
    ----------
    module : torch.nn.Module
        A layer or a whole network.
    method : {"lecun_normal", "lecun_truncated_normal", "lecun_uniform", "orthogonal"}
        The distribution of the weights.
    gain : float
        Factor of the weights; finite, not negative. SELU needs 1.
    generator : torch.Generator, optional
        Source of random numbers, on the device of the weights.

    Returns
    -------
    torch.nn.Module
        ``module``, initialised.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or the module contains a layer that cannot be
        initialised: a lazy one before its first batch, a parametrised weight (which would be
        overwritten by its parametrisation), a recurrent layer or multi-head attention (their
        gates and scores have other needs). Nothing is changed then.

    Notes
    -----
    Layer by layer: Linear and alike (any module with ``in_features``, ``out_features`` and a
    weight of that shape): fan_in = in_features. Conv1d-3d: fan_in = in_channels / groups times
    the kernel's size; orthogonal ones per group. ConvTranspose1d-3d: fan_in = in_channels /
    groups times the kernel's size / the stride's product, the mean number of terms of an output
    (exact where the stride divides the kernel). Bilinear: fan_in = in1_features * in2_features.
    Embedding(Bag): entries N(0, gain²), whatever the method, the row of ``padding_idx`` zero. What
    has no such weight (normalisation, PReLU, parameters of your own modules) is left as it is.
    A weight shared by two layers is drawn once.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.SELU(), torch.nn.Linear(8, 2))
    >>> net = initialize_(net, generator=torch.Generator().manual_seed(0))
    >>> net[0].bias.abs().sum().item()
    0.0
    """
    if not isinstance(module, nn.Module):
        raise DomainError(
            f"initialize_ takes a torch.nn.Module, however: a {type(module).__name__}; for one "
            "tensor use lecun_normal_"
        )
    if not isinstance(method, str) or method not in _METHODS:
        raise DomainError(f"method must be one of {sorted(_METHODS)}, however: method={method!r}")
    layers = [(name, layer) for name, layer in module.named_modules() if _has_weight(name, layer)]
    for _, layer in layers:
        _check(_weight(layer), gain, generator)
    done: set[int] = set()
    for _, layer in layers:
        weight = _weight(layer)
        if id(weight) not in done:
            _initialize_layer(layer, weight, _METHODS[method], gain, generator)
            done.add(id(weight))
        bias = getattr(layer, "bias", None)
        if isinstance(bias, Tensor):
            with torch.no_grad():
                bias.zero_()
    return module


# ---- fillers: write numbers of expectation 0 and variance 1 / fan_in ----------------------

_Filler = Callable[[Tensor, float, torch.Generator | None], object]


def _normal(out: Tensor, fan_in: float, generator: torch.Generator | None) -> None:
    out.normal_(0.0, 1.0 / math.sqrt(fan_in), generator=generator)


def _truncated_normal(out: Tensor, fan_in: float, generator: torch.Generator | None) -> None:
    sd = 1.0 / (math.sqrt(fan_in) * _TRUNCATED_SD)
    nn.init.trunc_normal_(out, 0.0, sd, -_CUT * sd, _CUT * sd, generator=generator)


def _uniform(out: Tensor, fan_in: float, generator: torch.Generator | None) -> None:
    limit = math.sqrt(3.0 / fan_in)
    out.uniform_(-limit, limit, generator=generator)


def _orthogonal(out: Tensor, fan_in: float, generator: torch.Generator | None) -> None:
    # orthogonal_ makes the shorter side orthonormal: the sum of all squares is min(rows, columns).
    longer = max(out.shape[0], math.prod(out.shape[1:]))
    nn.init.orthogonal_(out, math.sqrt(longer / fan_in), generator=generator)


_METHODS: Final[dict[str, _Filler]] = {
    "lecun_normal": _normal,
    "lecun_truncated_normal": _truncated_normal,
    "lecun_uniform": _uniform,
    "orthogonal": _orthogonal,
}


def _fill(
    tensor: Tensor,
    filler: _Filler,
    gain: float,
    generator: torch.Generator | None,
    fan_in: float | None = None,
) -> Tensor:
    _check(tensor, gain, generator)
    if tensor.numel() == 0 or tensor.is_meta:
        return tensor
    low = tensor.dtype in (torch.bfloat16, torch.float16)
    with torch.no_grad():
        drawn = torch.empty(
            tensor.shape, dtype=torch.float32 if low else tensor.dtype, device=tensor.device
        )
        filler(drawn, math.prod(tensor.shape[1:]) if fan_in is None else fan_in, generator)
        tensor.copy_(drawn.mul_(float(gain)))
    return tensor


def _check(tensor: Tensor, gain: float, generator: torch.Generator | None) -> None:
    if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
        raise DomainError(
            "the weight has no shape yet, however: it belongs to a lazy module; run one batch "
            "through the network first"
        )
    if not isinstance(tensor, Tensor):
        raise DomainError(f"tensor must be a torch.Tensor, however: a {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise DomainError(
            f"tensor must be floating point, however: tensor.dtype={tensor.dtype}; initialise "
            "before converting or quantising"
        )
    if tensor.dim() < 2:
        raise DomainError(
            "tensor must have at least two dimensions (out, in, ...), because fan_in is counted "
            f"from them, however: tensor.shape={tuple(tensor.shape)}; biases start at zero"
        )
    if isinstance(gain, bool) or not isinstance(gain, int | float) or not 0 <= gain < math.inf:
        raise DomainError(
            f"gain must be a finite number, 0 or more, however: gain={gain!r}; SELU needs gain=1"
        )
    if generator is not None and not isinstance(generator, torch.Generator):
        raise DomainError(
            f"generator must be a torch.Generator, however: generator={generator!r}; "
            "make one of a seed with torch.Generator().manual_seed(seed)"
        )
    on_device = generator is None or tensor.is_meta or generator.device.type == tensor.device.type
    if generator is not None and not on_device:
        raise DomainError(
            "generator and tensor must be on one device, however: "
            f"generator.device={generator.device}, tensor.device={tensor.device}; make it with "
            "torch.Generator(device=tensor.device)"
        )


# ---- modules ------------------------------------------------------------------------------

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_REFUSED = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


def _has_weight(name: str, layer: nn.Module) -> bool:
    """Tell whether the layer is one to initialise; refuse those that cannot be."""
    kind = f"{type(layer).__name__} {name!r}" if name else type(layer).__name__
    if isinstance(layer, _REFUSED):
        raise DomainError(
            f"initialize_ has no rule for {kind}: its gates or scores are not self-normalizing "
            "layers; call initialize_ on the other submodules"
        )
    convolution = isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED))
    if not (
        convolution
        or isinstance(layer, nn.Bilinear | nn.Embedding | nn.EmbeddingBag)
        or _is_linear(layer)
    ):
        return False
    if parametrize.is_parametrized(layer, "weight") or "weight" not in layer._parameters:
        raise DomainError(
            f"the weight of {kind} is computed by a parametrisation, which would overwrite what "
            "is written here; initialise before parametrising"
        )
    return True


def _is_linear(layer: nn.Module) -> bool:
    """Tell a linear layer, ours and others', by its features and the shape of its weight."""
    if isinstance(layer, nn.Linear):
        return True
    features = (getattr(layer, "out_features", None), getattr(layer, "in_features", None))
    weight = None if None in features else getattr(layer, "weight", None)
    return isinstance(weight, Tensor) and tuple(weight.shape) == features


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    if not isinstance(weight, Tensor):
        raise DomainError(f"{type(layer).__name__}.weight must be a tensor, however: {weight!r}")
    return weight


def _initialize_layer(
    layer: nn.Module,
    weight: Tensor,
    filler: _Filler,
    gain: float,
    generator: torch.Generator | None,
) -> None:
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        _fill(weight, _normal, gain, generator, fan_in=1.0)
        if layer.padding_idx is not None:
            with torch.no_grad():
                weight[layer.padding_idx].zero_()
    elif isinstance(layer, _TRANSPOSED):
        # (in, out / groups, *kernel): seen as (out / groups, in / groups, *kernel) per group.
        fan_in = weight.shape[0] // layer.groups * math.prod(weight.shape[2:])
        for block in weight.detach().chunk(layer.groups):
            mean_terms = fan_in / math.prod(layer.stride)
            _fill(block.transpose(0, 1), filler, gain, generator, fan_in=mean_terms)
    elif isinstance(layer, _CONVOLUTIONS):
        for block in weight.detach().chunk(layer.groups):
            _fill(block, filler, gain, generator)
    else:
        _fill(weight, filler, gain, generator)
