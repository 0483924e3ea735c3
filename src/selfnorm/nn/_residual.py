"""Sums and concatenations that keep mean and variance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selfnorm import theory
from selfnorm.errors import DomainError
from selfnorm.functional._checks import is_number
from selfnorm.nn._checks import check_size

__all__ = ["ScaledConcat", "ScaledResidual"]


class ScaledResidual(nn.Module):
    r"""Residual sum that keeps the variance: sqrt(1 - s^2) branch(x) + s shortcut(x).

    .. math:: y = \sqrt{1 - s^2} \, f(x) + s \, g(x)

    Parameters
    ----------
    branch : torch.nn.Module
        The layers f, whose outputs have mean 0 and the variance of its inputs.
    skip : float
        The weight s of the shortcut, in [0, 1]. 0 is no residual, 1 no branch.
    shortcut : torch.nn.Module, optional
        The way g past the branch, where that changes the shape; such as a 1 x 1 convolution with
        LeCun normal weights and no activation. Default: the identity.

    Raises
    ------
    DomainError
        If an argument lies outside its domain or, in use, branch and shortcut differ in shape.

    Notes
    -----
    Moments: with means m_f, m_g and variances v_f, v_g, the sum has mean
    sqrt(1 - s²) m_f + s m_g and variance (1 - s²) v_f + s² v_g + 2 s sqrt(1 - s²) cov. Averaged
    over independent weights in the last layer of the branch, cov = 0, as these have mean 0. So
    where branch and shortcut have mean 0 and variance v, the sum has too. A mean other than 0
    would grow by the factor s + sqrt(1 - s²) > 1: take fixed points of mean 0. The plain sum
    f(x) + x doubles the variance with every block.

    Gradients: one block of j SELU layers multiplies the mean squared gradient by
    (1 - s²) chi^j + s², chi the gain of :func:`selfnorm.theory.gradient_gain`, against chi^j
    without shortcut: see ``skip_for_depth``. After ``L`` blocks the share of the first input in
    the last sum's variance is s^(2 L).

    Training: s is a constant. Moments after training are those of the trained weights.

    References
    ----------
    He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
    arXiv:1512.03385. The form that keeps the variance: Martens et al., "Rapid training of deep
    neural networks without skip connections or normalization layers using Deep Kernel Shaping",
    arXiv:2110.01765.

    Examples
    --------
    >>> import torch
    >>> from selfnorm.nn import LinearSELU
    >>> block = ScaledResidual(LinearSELU(8, 8), 0.8)
    >>> block(torch.zeros(5, 8)).shape
    torch.Size([5, 8])
    """

    def __init__(self, branch: nn.Module, skip: float, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        for name, value in (("branch", branch), ("shortcut", shortcut)):
            if not isinstance(value, nn.Module) and not (name == "shortcut" and value is None):
                raise DomainError(
                    f"{name} must be a torch.nn.Module, however: {name}={value!r}; wrap several "
                    "layers in torch.nn.Sequential"
                )
        if not is_number(skip) or not 0.0 <= skip <= 1.0:
            raise DomainError(
                f"skip must be a number from 0 to 1, however: skip={skip!r}; its square is the "
                "shortcut's share of the variance, such as 0.7"
            )
        self.branch = branch
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.skip = float(skip)
        self.share = math.sqrt(1.0 - self.skip**2)

    @staticmethod
    def skip_for_depth(
        blocks: int, layers: int = 2, *, var: float = 1.0, budget: float = math.e
    ) -> float:
        """Return the skip with which gradients grow by at most a budget over all blocks.

        Parameters
        ----------
        blocks : int
            Number of residual blocks, at least 1.
        layers : int
            SELU layers of each branch, at least 1.
        var : float
            Variance that the SELU layers keep, at mean 0.
        budget : float
            Allowed growth of the mean squared gradient at initialisation, greater than 1.

        Returns
        -------
        float
            The smallest such s that is at least sqrt(1/2), where both ways weigh alike.

        Notes
        -----
        Solves ((1 - s²) chi^layers + s²)^blocks = budget for s, without dropout, which lowers it.

        Examples
        --------
        >>> from selfnorm.nn import ScaledResidual
        >>> round(ScaledResidual.skip_for_depth(4), 4), round(ScaledResidual.skip_for_depth(50), 4)
        (0.7071, 0.9294)
        """
        check_size("blocks", blocks, 1)
        check_size("layers", layers, 1)
        if not is_number(budget) or not 1.0 < budget < math.inf:
            raise DomainError(
                "budget must be a number greater than 1, however: "
                f"budget={budget!r}; a SELU layer lets gradients grow, by 1.07 at variance 1"
            )
        constants = theory.solve(0.0, var)
        selu = theory.activation("selu", alpha=float(constants.alpha), scale=float(constants.scale))
        growth = float(theory.gradient_gain(selu, 0.0, var)) ** layers - 1.0
        branch_share = (budget ** (1.0 / blocks) - 1.0) / growth
        return math.sqrt(max(0.5, 1.0 - branch_share))

    def forward(self, x: Tensor) -> Tensor:
        """Apply branch and shortcut to ``x`` and add what they give."""
        # The shortcut first: the branch may write over nothing that it still needs.
        straight, branched = self.shortcut(x), self.branch(x)
        if straight.shape != branched.shape:
            raise DomainError(
                "branch and shortcut must give the same shape, however: "
                f"branch(x).shape={tuple(branched.shape)}, "
                f"shortcut(x).shape={tuple(straight.shape)} for x.shape={tuple(x.shape)}; give a "
                "shortcut that changes the shape as the branch does, such as a 1 x 1 convolution "
                "of its stride and channels"
            )
        result: Tensor = self.share * branched + self.skip * straight
        return result

    def extra_repr(self) -> str:
        """Show the weight of the shortcut."""
        return f"skip={self.skip:g}"


class ScaledConcat(nn.Module):
    r"""Concatenation whose parts have chosen shares of the next layer's variance.

    .. math:: y = (a_1 x_1, a_2 x_2, \dots), \qquad a_i = \sqrt{p_i \, n / n_i}

    with n_i channels of part i, n their sum, and shares p_i of sum 1.

    Parameters
    ----------
    shares : sequence of float, optional
        The share p_i of each part, positive. Only their ratios count. Default: n_i / n, a plain
        concatenation, where all a_i = 1.
    dim : int
        The dimension along which to concatenate: 1 for (batch, channels, …), -1 for features.

    Raises
    ------
    DomainError
        If an argument lies outside its domain or, in use, the parts do not fit together.

    Notes
    -----
    Shape: parts that agree in all dimensions but ``dim``; their sizes there are added up.

    Moments: pooled over channels, parts of mean 0 and variance v give mean 0 and variance v, for
    any shares. What needs care is fan_in: the layer after it must be initialised for all n
    channels, as a layer made for n inputs is, not for one part. Its pre-activations then have
    the variance sum of p_i v: with the default a part of 3 channels beside one of 509 has 3/512
    of it; shares give it more. Means other than 0 are scaled with their part.

    References
    ----------
    Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017,
    arXiv:1608.06993.

    Examples
    --------
    >>> import torch
    >>> joined = ScaledConcat([1, 1])(torch.ones(2, 3, 5), torch.ones(2, 9, 5))
    >>> joined.shape, round(joined[0, 0, 0].item(), 4), round(joined[0, 3, 0].item(), 4)
    (torch.Size([2, 12, 5]), 1.4142, 0.8165)
    """

    def __init__(self, shares: Sequence[float] | None = None, dim: int = 1) -> None:
        super().__init__()
        if shares is not None and not (
            isinstance(shares, tuple | list)
            and shares
            and all(is_number(share) and 0.0 < share < math.inf for share in shares)
        ):
            raise DomainError(
                f"shares must be positive numbers, one per part, however: shares={shares!r}; "
                "leave it out for a plain concatenation"
            )
        if type(dim) is not int:
            raise DomainError(f"dim must be an integer, however: dim={dim!r}; channels are dim=1")
        self.shares = None if shares is None else tuple(float(s) / sum(shares) for s in shares)
        self.dim = dim

    def forward(self, *parts: Tensor) -> Tensor:
        """Concatenate the parts, each scaled to its share."""
        shapes = [tuple(part.shape) for part in parts]
        if not parts or (self.shares is not None and len(parts) != len(self.shares)):
            count = "at least one" if self.shares is None else f"{len(self.shares)}, as shares"
            raise DomainError(
                f"the number of parts must be {count}, however: {len(parts)} of shapes {shapes}"
            )
        rank = parts[0].dim()
        index = self.dim + rank if self.dim < 0 else self.dim
        rest = [shape[:index] + shape[index + 1 :] for shape in shapes]
        if not 0 <= index < rank or any(len(s) != rank for s in shapes) or len(set(rest)) > 1:
            raise DomainError(
                f"the parts must agree in all dimensions but dim={self.dim}, however: their shapes "
                f"are {shapes}; pool or upsample one to the size of the other"
            )
        if self.shares is not None:
            total = sum(shape[index] for shape in shapes)
            parts = tuple(
                part * math.sqrt(share * total / shape[index])
                for part, share, shape in zip(parts, self.shares, shapes, strict=True)
            )
        return torch.cat(parts, index)

    def extra_repr(self) -> str:
        """Show shares and dimension."""
        return f"shares={self.shares}, dim={self.dim}"
