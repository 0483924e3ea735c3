"""A classifier of sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from selfnorm import init
from selfnorm.errors import DataError, DomainError
from selfnorm.nn._checks import check_dtype, check_generator, check_size
from selfnorm.nn._embedding import SNNEmbedding
from selfnorm.nn._linear import LinearSELU
from selfnorm.nn._recurrent import SELURNN

__all__ = ["SNNSequenceClassifier"]


class SNNSequenceClassifier(nn.Module):
    """Recurrent SELU net that reads a sequence and names its class.

    :class:`SELURNN` layers, hidden :class:`LinearSELU` layers on the state after the last step, and
    a linear head. All of it starts at mean 0 and variance 1 for standardised inputs, at every
    step.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs per step and of classes, at least 1; with a vocabulary,
        ``in_features`` is the size of its embedding, at least 2.
    width : int
        Units of each layer, at least 1.
    num_layers : int
        Recurrent layers, at least 1.
    depth : int
        Hidden layers between the last state and the head.
    vocabulary : int, optional
        Number of tokens. With it, inputs are whole numbers, which a :class:`SNNEmbedding` looks
        up; without it, rows of numbers.
    memory : float, optional
        Share of the state in a pre-activation, see :class:`SELURNNCell`.
    dropout : float
        Probability of alpha dropout between the layers, in [0, 1].
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator, which the dropout
        always uses.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    embedding : SNNEmbedding or None
        The vocabulary.
    recurrent : SELURNN
        The recurrent layers, batch first.
    hidden : torch.nn.Sequential
        The hidden layers.
    head : torch.nn.Linear
        The output layer; LeCun normal.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, or an input has another shape.
    DataError
        If a length is 0 or longer than the sequences, or a token is none of the vocabulary.

    Notes
    -----
    Shape: input (N, T, in_features), or (N, T) with a vocabulary, T at least 1; output
    (N, out_features), scores to be given to cross-entropy.

    Examples
    --------
    >>> import torch
    >>> net = SNNSequenceClassifier(3, 5, width=32)
    >>> net(torch.zeros(4, 7, 3), lengths=torch.tensor([7, 1, 3, 7])).shape
    torch.Size([4, 5])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        width: int = 128,
        num_layers: int = 1,
        depth: int = 1,
        vocabulary: int | None = None,
        memory: float | None = None,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_size("in_features", in_features, 1)
        self.out_features = check_size("out_features", out_features, 1)
        check_size("width", width, 1)
        check_size("depth", depth, 0)
        check_dtype(dtype)
        check_generator(generator)
        self.embedding = (
            None
            if vocabulary is None
            else SNNEmbedding(
                vocabulary, in_features, generator=generator, device=device, dtype=dtype
            )
        )
        self.recurrent = SELURNN(
            in_features,
            width,
            num_layers,
            batch_first=True,
            memory=memory,
            dropout=dropout,
            generator=generator,
            device=device,
            dtype=dtype,
        )
        self.hidden = nn.Sequential()
        for _ in range(depth):
            self.hidden.append(
                LinearSELU(
                    width,
                    width,
                    dropout=dropout,
                    generator=generator,
                    device=device,
                    dtype=dtype,
                )
            )
        # Without memory first: torch's own layer would draw from the default generator.
        self.head = nn.Linear(width, out_features, device="meta", dtype=dtype)
        self.head.to_empty(device=torch.get_default_device() if device is None else device)
        init.initialize_(self.head, generator=generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew."""
        if self.embedding is not None:
            self.embedding.reset_parameters(generator)
        self.recurrent.reset_parameters(generator)
        init.initialize_(self.hidden, generator=generator)
        init.initialize_(self.head, generator=generator)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the scores of sequences, of which ``lengths`` steps count each."""
        if self.embedding is not None:
            if x.dim() != 2:
                raise DomainError(
                    f"tokens must have shape (N, T), however: input.shape={tuple(x.shape)}"
                )
            x = self.embedding(x)
        elif x.dim() != 3:
            raise DomainError(
                f"input must have shape (N, T, {self.in_features}), however: "
                f"input.shape={tuple(x.shape)}; one sequence is a batch of one, x.unsqueeze(0)"
            )
        if lengths is None:
            _, state = self.recurrent(x)
        else:
            _check_lengths(lengths, x)
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            _, state = self.recurrent(packed)
        # The state that the last layer hands on; its dropout acts on outputs, not on states.
        out: Tensor = self.head(self.hidden(state[-1]))
        return out

    def extra_repr(self) -> str:
        """Show the sizes of input and output."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


def _check_lengths(lengths: Tensor, x: Tensor) -> None:
    rows, steps = x.shape[:2]
    if lengths.shape != (rows,) or lengths.is_floating_point():
        raise DataError(
            f"lengths must be {rows} whole numbers, one per sequence, however: "
            f"lengths.shape={tuple(lengths.shape)}, lengths.dtype={lengths.dtype}"
        )
    low, high = (int(value) for value in lengths.aminmax())
    if low < 1 or high > steps:
        index = int(((lengths < 1) | (lengths > steps)).nonzero()[0, 0])
        raise DataError(
            f"a length must be between 1 and {steps}, the steps of the input, however: "
            f"lengths[{index}]={int(lengths[index])}; leave empty sequences out"
        )
