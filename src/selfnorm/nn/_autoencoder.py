"""Autoencoders, plain and variational, that stay at the fixed point."""

from __future__ import annotations

import itertools
import math
from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor, nn

from selfnorm import init, theory
from selfnorm.errors import DomainError
from selfnorm.functional._checks import check_rate, is_number
from selfnorm.nn._autoencoder_conv import ConvDecoder, ConvEncoder, check_image_shape
from selfnorm.nn._checks import check_dtype, check_generator, check_size
from selfnorm.nn._linear import LinearSELU
from selfnorm.nn._snn import _widths

__all__ = ["ELBO", "SNNAutoencoder"]

_LIKELIHOODS: Final = ("gaussian", "bernoulli")
# At the start mean and deviation of a drawn code share its variance equally.
_START: Final = 0.5


class ELBO(NamedTuple):
    """What the loss of a variational autoencoder is made of, in nats per row.

    Parameters
    ----------
    loss : Tensor
        The sum reconstruction + beta * divergence, a number; its negative is the evidence lower
        bound at beta = 1.
    reconstruction : Tensor
        Negative log likelihood of the rows, averaged over them.
    divergence : Tensor
        Kullback-Leibler divergence of the codes from the standard normal distribution, averaged.

    Examples
    --------
    >>> import torch
    >>> net = SNNAutoencoder(6, 2, width=8, depth=1, variational=True)
    >>> bool(net.elbo(torch.zeros(3, 6)).divergence > 0)
    True
    """

    loss: Tensor
    reconstruction: Tensor
    divergence: Tensor


class SNNAutoencoder(nn.Module):
    r"""Encoder and decoder of self-normalizing layers, without batch normalisation.

    Two mirrored stacks of :class:`LinearSELU` with a linear code between them. LeCun weights give
    the code mean 0 and variance 1, which is what the decoder's first layer wants: the whole, twice
    as deep as each part, starts at the fixed point.

    The variational form draws the code: :math:`z = \mu + e^{\ell / 2} \varepsilon`. It starts with
    Var μ = 1/2 and :math:`e^\ell` = 1/2, so that z has variance 1 too.

    Parameters
    ----------
    in_features : int or (int, int, int)
        Numbers per row, at least 1; or channels, height and width of images, which makes the layers
        convolutions (:class:`ConvSELU2d`, 3×3). The decoder then repeats pixels where the encoder
        has stride 2, which keeps all moments.
    code_features : int
        Numbers per code, at least 1.
    width : int
        Units of the widest hidden layers, those at the outside; of images the channels of all.
    depth : int
        Hidden layers of the encoder, and of the decoder as many.
    halvings : int
        How often the encoder halves images. At most one halving per layer; height and width must
        be multiples of 2 to this power.
    shape : {"rectangular", "conic"}
        Whether all hidden layers have ``width`` units, or narrow geometrically towards the code.
    dropout : float
        Probability of alpha dropout, in [0, 1].
    variational : bool
        Whether the code is drawn.
    var : float or "depth-matched"
        Variance that the hidden layers keep; inputs, codes and outputs have variance 1 whatever it
        is. ``"depth-matched"``: that of :func:`selfnorm.theory.match_depth` for all 2 depth layers.
    weight_init : {"lecun_normal", "lecun_uniform", "orthogonal"}
        Distribution of the hidden weights.
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator, which the dropout
        always uses.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    encoder, decoder : torch.nn.Module
        The two parts, each with ``hidden`` layers and a linear ``head``.
    widths : tuple of int
        Units of each hidden layer of the encoder; the decoder has them in reverse.
    var : float
        Variance that the hidden layers keep.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or an input has another shape.

    Notes
    -----
    Shape: input and output (N, in_features), or (N, channels, height, width); code
    (N, code_features). Inputs shall have mean 0 and variance 1; the output is linear, for a squared
    error on such rows.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515; Kingma,
    Welling, "Auto-Encoding Variational Bayes", ICLR 2014, arXiv:1312.6114.

    Examples
    --------
    >>> import torch
    >>> net = SNNAutoencoder(64, 8, width=48, depth=4, shape="conic")
    >>> net.widths
    (48, 31, 20, 13)
    >>> net(torch.zeros(5, 64)).shape, net.encode(torch.zeros(5, 64)).shape
    (torch.Size([5, 64]), torch.Size([5, 8]))
    >>> images = SNNAutoencoder((3, 16, 8), 10, width=12, depth=3)
    >>> images.encode(torch.zeros(5, 3, 16, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        in_features: int | tuple[int, int, int],
        code_features: int,
        *,
        width: int = 256,
        depth: int = 4,
        halvings: int = 2,
        shape: Literal["rectangular", "conic"] = "rectangular",
        dropout: float = 0.0,
        variational: bool = False,
        var: float | Literal["depth-matched"] = 1.0,
        weight_init: Literal["lecun_normal", "lecun_uniform", "orthogonal"] = "lecun_normal",
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_size("width", width, 1)
        check_size("depth", depth, 0)
        self.code_features = check_size("code_features", code_features, 1)
        check_rate("dropout", dropout)
        check_dtype(dtype)
        check_generator(generator)
        self.in_features = in_features
        self.variational = variational
        self.var = _variance(var, depth)
        self.weight_init = weight_init
        codes = 2 * code_features if variational else code_features
        if isinstance(in_features, tuple | list):
            self.in_features = images = check_image_shape(tuple(in_features), depth, halvings)
            if shape != "rectangular":
                raise DomainError(
                    f"shape must be 'rectangular' for images, however: shape={shape!r}; the map "
                    "narrows by halvings"
                )
            self.widths = (width,) * depth
            sizes: dict[str, Any] = {"width": width, "depth": depth, "halvings": halvings}
            sizes |= {"var": self.var, "dropout": dropout, "dtype": dtype}
            self.encoder: nn.Module = ConvEncoder(images, codes, **sizes)
            self.decoder: nn.Module = ConvDecoder(images, code_features, **sizes)
        else:
            check_size("in_features", in_features, 1)
            self.widths = _widths(width, depth, code_features, shape)
            layers = (self.var, dropout, dtype)
            self.encoder = _Part((in_features, *self.widths, codes), *layers)
            self.decoder = _Part((code_features, *reversed(self.widths), in_features), *layers)
        self.to_empty(device=torch.get_default_device() if device is None else device)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, from ``generator`` alone if one is given."""
        for part in (self.encoder, self.decoder):
            for name, child in part.named_children():
                method = self.weight_init if name == "hidden" else "lecun_normal"
                init.initialize_(child, method=method, generator=generator)
        if self.variational:
            head = self.encoder.head
            assert isinstance(head, nn.Linear)
            with torch.no_grad():
                mean, log_var = head.weight.chunk(2)
                mean.mul_(math.sqrt(1.0 - _START))
                log_var.zero_()
                head.bias[self.code_features :].fill_(math.log(_START))

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes of rows; of a variational autoencoder their means.

        Parameters
        ----------
        x : Tensor
            Rows or images.

        Returns
        -------
        Tensor
            Shape (N, code_features).
        """
        return self.posterior(x)[0] if self.variational else self._encoded(x)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the codes of rows.

        Parameters
        ----------
        x : Tensor
            Rows or images.

        Returns
        -------
        (Tensor, Tensor)
            Both of shape (N, code_features).

        Raises
        ------
        DomainError
            If the autoencoder is not variational.
        """
        if not self.variational:
            raise DomainError(
                "a distribution of codes needs a variational autoencoder, however: "
                "variational=False; use encode, or SNNAutoencoder(…, variational=True)"
            )
        mean, log_var = self._encoded(x).chunk(2, dim=1)
        return mean, log_var

    def decode(self, code: Tensor) -> Tensor:
        """Return the rows that codes stand for.

        Parameters
        ----------
        code : Tensor
            Shape (N, code_features).

        Returns
        -------
        Tensor
            Rows (N, in_features), or images.
        """
        _check_rows("code", code, (self.code_features,))
        out: Tensor = self.decoder(code)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Encode and decode; a variational autoencoder draws the code in training mode."""
        if not self.variational:
            return self.decode(self._encoded(x))
        mean, log_var = self.posterior(x)
        return self.decode(_draw(mean, log_var, None) if self.training else mean)

    def elbo(
        self,
        x: Tensor,
        *,
        likelihood: Literal["gaussian", "bernoulli"] = "gaussian",
        noise_var: float = 1.0,
        beta: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> ELBO:
        r"""Return the loss of a variational autoencoder, one code drawn per row.

        .. math:: -\mathrm{E}_{z \sim q(z|x)} \log p(x | z) + \beta\, \mathrm{KL}(q(z|x) \| p(z))

        Parameters
        ----------
        x : Tensor
            Standardised rows or images; for the Bernoulli likelihood between 0 and 1.
        likelihood : {"gaussian", "bernoulli"}
            Normal with the output as mean, or independent bits with the output as logits.
        noise_var : float
            Variance of the normal likelihood, above 0. Rows of variance 1 that are reconstructed
            up to a few percent want one of a few percent.
        beta : float
            Weight of the divergence, at least 0.
        generator : torch.Generator, optional
            Source of the draws. Default: torch's default generator.

        Returns
        -------
        ELBO
            The loss and its two parts, in nats per row.

        Raises
        ------
        DomainError
            If the autoencoder is not variational, or an argument lies outside its domain.
        """
        if likelihood not in _LIKELIHOODS:
            raise DomainError(
                f"likelihood must be 'gaussian' or 'bernoulli', however: likelihood={likelihood!r}"
            )
        _check_number("noise_var", noise_var, 0.0, strict=True)
        _check_number("beta", beta, 0.0, strict=False)
        mean, log_var = self.posterior(x)
        out = self.decoder(_draw(mean, log_var, check_generator(generator)))
        if likelihood == "gaussian":
            constant = math.log(2.0 * math.pi * noise_var)
            nats = 0.5 * ((out - x).square() / noise_var + constant)
        else:
            nats = nn.functional.binary_cross_entropy_with_logits(out, x, reduction="none")
        reconstruction = nats.flatten(1).sum(dim=1).mean()
        apart = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var)
        divergence = apart.sum(dim=1).mean()
        return ELBO(reconstruction + beta * divergence, reconstruction, divergence)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Decode codes drawn from the standard normal distribution.

        Parameters
        ----------
        n : int
            How many rows, at least 1.
        generator : torch.Generator, optional
            Source of the codes. Default: torch's default generator.

        Returns
        -------
        Tensor
            As many rows or images, without gradient. Only a variational autoencoder has learned
            what such codes mean.
        """
        check_size("n", n, 1)
        like = next(self.decoder.parameters())
        code = torch.randn(
            (n, self.code_features),
            generator=check_generator(generator),
            device=like.device,
            dtype=like.dtype,
        )
        with torch.no_grad():
            return self.decode(code)

    def _encoded(self, x: Tensor) -> Tensor:
        images = self.in_features
        _check_rows("input", x, images if isinstance(images, tuple) else (images,))
        out: Tensor = self.encoder(x)
        return out

    def extra_repr(self) -> str:
        """Show what the parts do not."""
        return f"variational={self.variational}, var={self.var:g}"


class _Part(nn.Module):
    """Hidden layers that keep a variance, between an input and an output of variance 1."""

    def __init__(
        self, sizes: tuple[int, ...], var: float, dropout: float, dtype: torch.dtype | None
    ) -> None:
        super().__init__()
        self.scale = math.sqrt(var)
        self.hidden = nn.Sequential()
        for fan_in, fan_out in itertools.pairwise(sizes[:-1]):
            self.hidden.append(
                LinearSELU(fan_in, fan_out, var=var, dropout=dropout, device="meta", dtype=dtype)
            )
        self.head = nn.Linear(sizes[-2], sizes[-1], device="meta", dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        # The head's weights see variance `var`; the factor gives its output variance 1.
        inner = self.hidden(x * self.scale) / self.scale if self.scale != 1.0 else self.hidden(x)
        out: Tensor = self.head(inner)
        return out

    def extra_repr(self) -> str:
        return "" if self.scale == 1.0 else f"scale={self.scale:g}"


def _variance(var: float | str, depth: int) -> float:
    if isinstance(var, str):
        if var != "depth-matched":
            raise DomainError(f"var must be a number or 'depth-matched', however: var={var!r}")
        return float(theory.match_depth(max(2 * depth, 1)).var)
    theory.solve(0.0, var)  # refuses a variance that no SELU has
    return float(var)


def _check_number(name: str, value: float, least: float, *, strict: bool) -> None:
    inside = is_number(value) and math.isfinite(value) and value >= least
    if not inside or (strict and value == least):
        raise DomainError(
            f"{name} must be finite and {'above' if strict else 'at least'} {least:g}, however: "
            f"{name}={value!r}"
        )


def _draw(mean: Tensor, log_var: Tensor, generator: torch.Generator | None) -> Tensor:
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + (0.5 * log_var).exp() * noise


def _check_rows(name: str, x: Tensor, features: tuple[int, ...]) -> None:
    if tuple(x.shape[1:]) != features or x.dim() != len(features) + 1:
        raise DomainError(
            f"{name} must have shape (N, {', '.join(map(str, features))}), however: "
            f"{name}.shape={tuple(x.shape)}"
        )
