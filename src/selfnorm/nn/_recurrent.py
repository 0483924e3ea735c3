"""Recurrent layers over whole sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils.rnn import PackedSequence

from selfnorm import functional
from selfnorm.errors import DomainError
from selfnorm.functional._checks import check_rate
from selfnorm.nn._checks import check_generator, check_size
from selfnorm.nn._recurrent_cell import SELURNNCell

__all__ = ["SELURNN"]


class SELURNN(nn.Module):
    """Layers of :class:`SELURNNCell` over whole sequences.

    Parameters
    ----------
    in_features, hidden_features : int
        Numbers of inputs per step and of units per layer, at least 1.
    num_layers : int
        Layers, at least 1; each reads the states of the one before.
    bias : bool
        Whether the layers have biases.
    batch_first : bool
        Whether inputs and outputs are (N, T, features) or, as torch's default, (T, N, features).
    activation : {"selu", "elu"}
        The activation of all layers.
    memory : float, optional
        Share of the state, see :class:`SELURNNCell`.
    dropout : float
        Probability of dropping in training, from 0 to 1: alpha dropout for SELU, ordinary
        dropout for ELU. It acts on what a layer hands on, the last one too, and never on the
        state that it hands to its own next step.
    generator : torch.Generator, optional
        Source of the initial weights. Default: torch's default generator.
    device : torch.device, optional
        Where the parameters lie.
    dtype : torch.dtype, optional
        Type of the parameters.

    Attributes
    ----------
    cells : torch.nn.ModuleList
        One cell per layer.
    initial_state : torch.nn.Parameter
        State before the first step if none is given, shape (num_layers, hidden_features); learned.
        It starts as activations of normal numbers, hence with the moments of the fixed point:
        a state of zeros would need some thirty steps to get there.

    Raises
    ------
    DomainError
        If an argument lies outside its domain, an input has another shape, or a sequence has no
        step.

    Notes
    -----
    Shape: input (N, T, in_features) with ``batch_first``, else (T, N, in_features), or unbatched
    (T, in_features), or a ``PackedSequence``; T at least 1. Returns ``(output, state)``: the
    states of the last layer at all steps, after dropout, of the input's form; and all layers'
    states after the last step of each sequence, (num_layers, N, hidden_features), without
    dropout. A state passed in has the latter's shape.

    Examples
    --------
    >>> import torch
    >>> layer = SELURNN(3, 64, num_layers=2, batch_first=True)
    >>> output, state = layer(torch.zeros(5, 7, 3))
    >>> output.shape, state.shape
    (torch.Size([5, 7, 64]), torch.Size([2, 5, 64]))
    """

    initial_state: Parameter

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        *,
        activation: str = "selu",
        memory: float | None = None,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_size("in_features", in_features, 1)
        self.hidden_features = check_size("hidden_features", hidden_features, 1)
        self.num_layers = check_size("num_layers", num_layers, 1)
        self.batch_first = batch_first
        self.dropout = check_rate("dropout", dropout)
        self.cells = nn.ModuleList(
            SELURNNCell(
                in_features if index == 0 else hidden_features,
                hidden_features,
                bias,
                activation=activation,
                memory=memory,
                device="meta",
                dtype=dtype,
            )
            for index in range(num_layers)
        )
        for cell in list(self.cells)[1:]:
            assert isinstance(cell, SELURNNCell)
            cell.reads_activations()
        self.activation = activation
        self.initial_state = Parameter(
            torch.empty(num_layers, hidden_features, device="meta", dtype=dtype)
        )
        # Without memory first: each weight is drawn once, here.
        self.to_empty(device=torch.get_default_device() if device is None else device)
        self.reset_parameters(check_generator(generator))

    def _draw_state(self, generator: torch.Generator | None) -> None:
        with torch.no_grad():
            self.initial_state.normal_(generator=generator)
            f = functional.selu if self.activation == "selu" else functional.elu
            self.initial_state.copy_(f(self.initial_state))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights and the initial state anew."""
        for cell in self.cells:
            assert isinstance(cell, SELURNNCell)
            cell.reset_parameters(generator)
        self._draw_state(generator)

    def forward(
        self, x: Tensor | PackedSequence, state: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Run the layers over the sequences."""
        if isinstance(x, PackedSequence):
            data, sizes = x.data, x.batch_sizes.tolist()
            self._check_input(tuple(data.shape[1:]), tuple(data.shape), "input.data")
            start = self._start(state, sizes[0], data)
            if x.sorted_indices is not None:
                start = start.index_select(1, x.sorted_indices)
            out, last = self._run(data, sizes, start)
            if x.unsorted_indices is not None:
                last = last.index_select(1, x.unsorted_indices)
            return PackedSequence(out, x.batch_sizes, x.sorted_indices, x.unsorted_indices), last
        shape = tuple(x.shape)
        batched = x.dim() == 3
        self._check_input(shape[-1:] if x.dim() in (2, 3) else (), shape, "input")
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        if not batched:
            x = x.unsqueeze(1)
            state = state.unsqueeze(1) if state is not None and state.dim() == 2 else state
        steps, rows = x.shape[:2]
        if steps == 0:
            raise DomainError(
                f"a sequence must have at least one step, however: input.shape={shape} with "
                f"batch_first={self.batch_first}; leave empty sequences out"
            )
        start = self._start(state, rows, x)
        out, last = self._run(x.reshape(steps * rows, -1), [rows] * steps, start)
        out = out.reshape(steps, rows, self.hidden_features)
        if not batched:
            return out.squeeze(1), last.squeeze(1)
        return (out.transpose(0, 1) if self.batch_first else out), last

    def _run(self, data: Tensor, sizes: list[int], start: Tensor) -> tuple[Tensor, Tensor]:
        """Run all layers over steps laid end to end, of ``sizes`` rows that never increase."""
        finals = []
        for index, cell in enumerate(self.cells):
            assert isinstance(cell, SELURNNCell)
            state, steps, ended = start[index], [], []
            for part in torch.split(cell._project(data), sizes):
                if len(part) < len(state):
                    ended.append(state[len(part) :])
                    state = state[: len(part)]
                state = cell._step(part, state)
                steps.append(state)
            finals.append(torch.cat([state, *reversed(ended)]))
            data = self._drop(torch.cat(steps))
        return data, torch.stack(finals)

    def _drop(self, x: Tensor) -> Tensor:
        if self.activation == "selu":
            return functional.alpha_dropout(x, self.dropout, self.training)
        return nn.functional.dropout(x, self.dropout, self.training)

    def _start(self, state: Tensor | None, rows: int, like: Tensor) -> Tensor:
        shape = (self.num_layers, rows, self.hidden_features)
        if state is None:
            return self.initial_state.unsqueeze(1).expand(shape).to(like.dtype)
        if state.shape != shape:
            raise DomainError(
                "state must have shape (num_layers, N, hidden_features) = "
                f"{shape}, however: state.shape={tuple(state.shape)}"
            )
        return state

    def _check_input(self, features: tuple[int, ...], shape: tuple[int, ...], name: str) -> None:
        if features != (self.in_features,):
            form = "(N, T, {0})" if self.batch_first else "(T, N, {0})"
            raise DomainError(
                f"{name} must have shape {form.format(self.in_features)} or "
                f"(T, {self.in_features}), however: {name}.shape={shape}"
            )

    def extra_repr(self) -> str:
        """Show what the cells do not."""
        shown = f"batch_first={self.batch_first}"
        return shown + (f", dropout={self.dropout:g}" if self.dropout else "")
