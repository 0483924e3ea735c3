"""Embedding at the fixed point."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from selfnorm.errors import DomainError
from selfnorm.nn._checks import check_dtype, check_generator, check_size
from selfnorm.nn._codes import check_codes, check_range

__all__ = ["SNNEmbedding"]

_SMALL: Final = 1e-12


class SNNEmbedding(nn.Module):
    """Embedding whose rows have mean 0 and variance 1, at the first step and at every later one.

    Parameters
    ----------
    num_embeddings : int
        Number of tokens, at least 1.
    embedding_dim : int
        Features per token, at least 2.
    padding_idx : int, optional
        A token whose row is zero and is not learned.
    standardize : bool
        Standardise the rows that are looked up, whatever training makes of them. Without it rows
        begin standardised and then drift.
    generator : torch.Generator, optional
        Source of the initial rows. Default: torch's default generator.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    weight : torch.nn.Parameter
        Shape (num_embeddings, embedding_dim).

    Raises
    ------
    DomainError
        If an argument lies outside its domain.
    DataError
        If an input is not of integers, or holds a number that is no token.

    Notes
    -----
    Shape: integers (...), output (..., embedding_dim). torch's embedding starts with rows whose
    mean and variance scatter by sqrt(1/n) and sqrt(2/n), and training lets frequent rows grow.

    Examples
    --------
    >>> import torch
    >>> layer = SNNEmbedding(1000, 16, padding_idx=0)
    >>> rows = layer(torch.tensor([[5, 7, 0]]))
    >>> rows.var(dim=-1, correction=0).round(decimals=4).tolist()
    [[1.0, 1.0, 0.0]]
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        standardize: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = check_size("num_embeddings", num_embeddings, 1)
        self.embedding_dim = check_size("embedding_dim", embedding_dim, 2)
        if padding_idx is not None and check_size("padding_idx", padding_idx, 0) >= num_embeddings:
            raise DomainError(
                f"padding_idx must be a token, below {num_embeddings}, however: "
                f"padding_idx={padding_idx}"
            )
        check_dtype(dtype)
        check_generator(generator)
        self.padding_idx = padding_idx
        self.standardize = standardize
        shape = (num_embeddings, embedding_dim)
        self.weight = Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the rows anew, each with mean 0 and variance 1."""
        with torch.no_grad():
            self.weight.normal_(generator=generator)
            self.weight.copy_(_standardized(self.weight))
            if self.padding_idx is not None:
                self.weight[self.padding_idx].zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        """Look the tokens up."""
        check_codes(tokens, "tokens")
        check_range(tokens, self.num_embeddings, None, "refuse")
        rows = nn.functional.embedding(tokens.long(), self.weight, self.padding_idx)
        if not self.standardize:
            return rows
        rows = _standardized(rows)
        if self.padding_idx is None:
            return rows
        return torch.where((tokens == self.padding_idx).unsqueeze(-1), 0.0, rows)

    def extra_repr(self) -> str:
        """Show the sizes."""
        shown = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            shown += f", padding_idx={self.padding_idx}"
        return shown + ("" if self.standardize else ", standardize=False")


def _standardized(rows: Tensor) -> Tensor:
    low = rows.dtype in (torch.bfloat16, torch.float16)
    wide = rows.float() if low else rows
    centred = wide - wide.mean(dim=-1, keepdim=True)
    # The constant keeps a row of zeros, as that of the padding, and its gradient finite.
    square = centred.square().mean(dim=-1, keepdim=True) + _SMALL
    return (centred * square.rsqrt()).to(rows.dtype)
