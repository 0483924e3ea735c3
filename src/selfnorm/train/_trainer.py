"""The engine's front: settings, data in, trained networks out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from selfnorm import nn
from selfnorm.errors import DomainError
from selfnorm.train._architecture import Architecture, architecture_of, flatten, layers_of
from selfnorm.train._arrays import check_inputs
from selfnorm.train._checkpoint import Checkpoint, load, refuse_to_overwrite
from selfnorm.train._checks import check_count, per_member
from selfnorm.train._early_stopping import EarlyStopping, Metric
from selfnorm.train._intake import checksum_of, load_rows, take_in
from selfnorm.train._losses import Loss, as_loss
from selfnorm.train._network import Network
from selfnorm.train._optimizers import AdamW, Optimizer
from selfnorm.train._passes import Passes
from selfnorm.train._progress import bar
from selfnorm.train._ranks import Ranks
from selfnorm.train._records import Callback, Result
from selfnorm.train._run import Run
from selfnorm.train._schedules import Constant, Schedule
from selfnorm.train._settings import Settings, seeds_of
from selfnorm.train._validation import outputs_of

__all__ = ["Trainer"]


class Trainer:
    """Train one plain network, or many side by side.

    Members are networks of one architecture that share the rows' way to the processor and the
    products' calls, and nothing else: member k of ``random_state=s`` is trained as the only member
    of ``random_state=s + k`` would be, except for roundings in the products.

    Parameters
    ----------
    model : selfnorm.nn.SNN, sequence of selfnorm.nn.SNN, or Architecture
        What to train. The first member starts from an SNN's weights, the others from weights drawn
        by the same rule; of several SNNs each is a member and starts from its own; from an
        `Architecture` all are drawn. The models are not changed: `export` gives the trained ones.
    members : int, optional
        How many networks, at least 1. Default: as many as there are SNNs, 1 for an `Architecture`.
    loss : {"softmax", "binary", "squared", "huber", "pinball"} or a loss
        `Softmax`, `Binary`, `Squared`, `Huber` or `Pinball`; a name means its defaults.
    optimizer : SGD or AdamW
        The optimiser. Default: ``AdamW(lr=1e-3)``.
    schedule : Constant, Cosine or Plateau
        How the rate changes. Default: not.
    epochs : int
        Passes over the rows, at least 1.
    batch_size : int
        Rows of a step, at least 1; the last batch of an epoch takes what is left.
    dropout : float or sequence of float, optional
        Probability of dropping for all members or for each. Default: the model's.
    clip_norm : float, optional
        Each member's gradient is scaled down to this Euclidean norm where it is longer.
    early_stopping : EarlyStopping, optional
        When members stop; each keeps its best weights. Needs validation rows.
    metric : {"loss", "accuracy"} or callable, optional
        What records report of validation rows without early stopping; as in `EarlyStopping`, to
        which it must be given where there is one. Default: the loss.
    average : float, optional
        Decay d in (0, 1) of a moving average of the weights, which then are evaluated and handed
        out. Step k (from 1) takes the average a fraction max(1 - d, 1/k) of the way to the weights.
    shuffle : {"member", "shared"}
        Whether each member draws its own order of the rows, or all take that of the first.
    on_divergence : {"raise", "stop", "halve"}
        What happens when the loss or the parameters stop being finite: raise `ConvergenceError`;
        go on without the member, which keeps its best weights or those before that step; or go
        back with that member's rate halved (at most 20 times): to the last epoch after which no
        loss was above 10 times its lowest value, if that is vain to the beginning.
    random_state : int or sequence of int
        Seed of the first member, the next ones follow; or a seed for each. Fixes initial weights,
        orders and dropout; no global random state is read or changed.
    checkpoint : Checkpoint, optional
        Where to save the training while it runs.
    callbacks : sequence of callable
        Each is called with an `EpochRecord` after each epoch.
    progress : bool, optional
        Whether to show a bar. Default: if the standard error is a terminal.
    device : torch.device, optional
        Where to train. Default: the model's device; the CPU for an `Architecture`.
    moments : bool
        Whether records have the moments of each hidden layer and the weight sums of all.
    cuda_graph : bool
        On a CUDA device, capture a step's products and activations into a CUDA graph. Not tested on
        a GPU yet.
    distributed : {"auto", "off"}
        Whether the processes that torchrun started, or those of torch's process group, train
        together, each on its share of every batch; see the notes.
    shuffle_rows : int, optional
        How many rows that come in batches (`fit`) are shuffled together, rounded down to whole
        batches, at least one. Default: as many as take 64 MiB.

    Raises
    ------
    DomainError
        If a setting lies outside its domain.

    Notes
    -----
    What is computed is what autograd and torch's optimisers compute, by the same formulas, with
    fewer and larger calls on memory that is allocated once. float32 or float64 throughout. A row's
    weight (`fit`) multiplies its loss; a batch's loss is the mean over its rows of the weighted
    losses, for weights that are scaled to mean 1 over the training rows.

    Processes that train together must be given the same rows and settings. Gradients and losses
    are summed once a step. Without dropout the result is that of one process, but for the order of
    the sums; with dropout the decisions are others, because each process counts its own rows. It is
    the same again with as many processes. The first one validates, writes checkpoints, calls the
    callbacks and shows the bar, and its initial weights are taken.

    Examples
    --------
    >>> import torch
    >>> from selfnorm import nn
    >>> g = torch.Generator().manual_seed(0)
    >>> X = torch.randn(200, 5, generator=g)
    >>> y = (X[:, 0] * X[:, 1] > 0).long()
    >>> model = nn.SNN(5, 2, width=32, depth=3, generator=g)
    >>> trainer = Trainer(model, members=3, epochs=40, batch_size=16)
    >>> result = trainer.fit(X, y)
    >>> max(result.loss) < 0.5 < 0.6 < min(result.history[0].loss)
    True
    >>> trainer.predict(X).shape, type(trainer.export(member=2)).__name__
    (torch.Size([3, 200, 2]), 'SNN')
    """

    def __init__(
        self,
        model: nn.SNN | Sequence[nn.SNN] | Architecture,
        *,
        members: int | None = None,
        loss: str | Loss = "softmax",
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        epochs: int = 100,
        batch_size: int = 128,
        dropout: float | Sequence[float] | None = None,
        clip_norm: float | None = None,
        early_stopping: EarlyStopping | None = None,
        metric: Literal["loss", "accuracy"] | Metric | None = None,
        average: float | None = None,
        shuffle: Literal["member", "shared"] = "member",
        on_divergence: Literal["raise", "stop", "halve"] = "raise",
        random_state: int | Sequence[int] = 0,
        checkpoint: Checkpoint | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
        device: torch.device | str | None = None,
        moments: bool = False,
        cuda_graph: bool = False,
        distributed: Literal["auto", "off"] = "auto",
        shuffle_rows: int | None = None,
    ) -> None:
        architecture, given = architecture_of(model)
        if members is None:
            members = max(1, len(given))
        if check_count("members", members, 1) < len(given):
            raise DomainError(
                f"members must be at least the number of models, {len(given)}, however: "
                f"members={members}; leave it out"
            )
        if dropout is None:
            own = [net.dropout for net in given]
            dropout = own + [architecture.rate] * (members - len(own))
        self._initial = [flatten(layers_of(net)) for net in given]
        home = self._initial[0].device if given else torch.device("cpu")
        self._settings = Settings(
            architecture=architecture,
            members=members,
            loss=as_loss(loss),
            optimizer=AdamW() if optimizer is None else optimizer,
            schedule=Constant() if schedule is None else schedule,
            epochs=epochs,
            batch_size=batch_size,
            dropout=per_member("dropout", dropout, members),
            clip_norm=clip_norm,
            early_stopping=early_stopping,
            metric=metric,
            average=average,
            shuffle=shuffle,
            on_divergence=on_divergence,
            seeds=seeds_of(random_state, members),
            checkpoint=checkpoint,
            callbacks=tuple(callbacks),
            progress=progress,
            device=home if device is None else torch.device(device),
            moments=moments,
            cuda_graph=cuda_graph,
            distributed=distributed,
            shuffle_rows=shuffle_rows,
        )
        self._resumed: tuple[Path, dict[str, Any]] | None = None
        self._weights: list[Tensor] = []
        self._passes: Passes | None = None

    # ---- training ---------------------------------------------------------------------------

    def resume(self, path: str | os.PathLike[str]) -> Trainer:
        """Load a checkpoint; the next `fit`, with the same data, goes on from there.

        Parameters
        ----------
        path : str or path-like
            A file that a trainer of the same settings has written. ``epochs``, ``checkpoint``,
            ``callbacks``, ``progress``, ``moments`` and the device may differ.

        Returns
        -------
        Trainer
            The trainer itself.

        Raises
        ------
        DataError
            If the file is not a checkpoint. Nothing in it is run as code.

        Notes
        -----
        `fit` raises `DomainError` if settings or data are not those of the checkpoint. On the same
        machine, with as many threads, the result has the bits of an uninterrupted training.
        """
        self._resumed = (Path(path), load(path))
        return self

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | Literal["balanced"] | None = None,
        validation: Any = None,
        rows: Sequence[Any] | None = None,
    ) -> Result:
        """Train from the beginning, or from the checkpoint that was loaded.

        Parameters
        ----------
        X : array-like or iterable
            Shape (n, features), finite. A `numpy.memmap` stays in its file and gives the same
            result. Or, without ``y``, something that gives batches (X, y) or (X, y, weights) of
            any sizes whenever it is iterated over, always the same rows, as `ParquetBatches` does;
            it is read once more than there are epochs.
        y : array-like, optional
            Shape (n,) or (n, columns): what the loss takes.
        sample_weight : array-like, optional
            Shape (n,), 0 or more.
        class_weight : dict of int to float or "balanced", optional
            Factors of the rows' weights by class; balanced: inverse to the classes' frequencies.
        validation : tuple or array-like or list, optional
            A tuple (X, y), or row numbers (or a mask) that are held out from training and
            validated on: one array for all members, or a list with an array for each. Or an
            iterable of batches, which are kept in memory.
        rows : sequence of array-like, optional
            For each member the numbers (or a mask) of the rows that it is trained on. Default: all
            that are not held out. Members of different folds or bootstrap samples train together
            so.

        Returns
        -------
        Result
            The history, and each member's best epoch.

        Raises
        ------
        DomainError
            If data or weights are not of the form the loss takes, or not finite.
        DataError
            If batches do not give the same number of rows in each epoch.
        ConvergenceError
            If a member diverges and may not be retried.
        OSError
            If a first checkpoint cannot be written.
        BackendError
            If processes train together and one is lost or fails.
        """
        settings = self._settings
        ranks = Ranks.find(settings.distributed, settings.device)
        ranks.first(partial(refuse_to_overwrite, settings.checkpoint, self._resumed))
        with ranks.together():
            data, held = take_in(settings, X, y, sample_weight, class_weight, validation, rows)
            keep = settings.checkpoint is not None or self._resumed is not None or ranks.size > 1
            checksum = checksum_of(data, held) if keep else ""
            run = Run(settings, data, held, checksum, self._start, ranks)
        facts = {"data": checksum, "epochs": settings.epochs, "resumed": self._resumed is not None}
        ranks.require_same({**settings.identity(), **facts})
        if self._resumed is None:
            run.start()
        else:
            with ranks.together():
                run.resume(self._resumed[1])
            ranks.require_same(run.where())
        mine = ranks.rank == 0
        with bar(settings.epochs, settings.progress if mine else False) as (show, tick):
            result = run.train((show, *settings.callbacks) if mine else (), tick)
        self._resumed = self._passes = None
        self._weights = run.weights()
        return result

    def partial_fit(self, X: Any, y: Any, *, sample_weight: Any = None) -> tuple[float, ...]:
        """Pass over these rows once; the optimiser's state is kept for the next call.

        The first call goes on from the trained weights, if there are such, else from the initial
        ones. The rate is the optimiser's throughout. Validation, early stopping, averages,
        callbacks and checkpoints belong to `fit`.

        Parameters
        ----------
        X : array-like
            Shape (n, features), finite.
        y : array-like
            Shape (n,) or (n, columns): what the loss takes.
        sample_weight : array-like, optional
            Shape (n,), 0 or more; scaled to mean 1 over these rows.

        Returns
        -------
        tuple of float
            Each member's mean loss during the pass.

        Raises
        ------
        DomainError
            If data or weights are not of the form the loss takes, or not finite.
        ConvergenceError
            If parameters become infinite or NaN; what was learned before the call is kept.
        """
        data = load_rows(self._settings, X, y, sample_weight)
        if self._passes is None:
            self._passes = Passes(self._settings, self._weights or list(self._start()))
        losses = self._passes.learn(data)
        self._weights = self._passes.weights()
        return losses

    def _start(self) -> Iterator[Tensor]:
        """Yield each member's initial parameters."""
        settings = self._settings
        for member, seed in enumerate(settings.seeds):
            if member < len(self._initial):
                yield self._initial[member].to(settings.device)
            else:
                drawn = layers_of(settings.architecture.build(seed=seed))
                yield flatten(drawn).to(settings.device)

    # ---- trained networks -------------------------------------------------------------------

    def predict(self, X: Any) -> Tensor:
        """Return the raw outputs of each trained member, nothing dropped.

        Parameters
        ----------
        X : array-like
            Shape (n, features), finite.

        Returns
        -------
        torch.Tensor
            Shape (members, n, outputs) on the trainer's device: logits for the losses of classes.

        Raises
        ------
        DomainError
            If nothing was trained yet, or ``X`` is not of that form.
        """
        self._check_trained()
        settings = self._settings
        network = Network(
            settings.architecture,
            settings.loss,
            settings.seeds,
            settings.dropout,
            settings.device,
        )
        arch = settings.architecture
        inputs = check_inputs(X, arch.sizes[0], arch.dtype, settings.device)
        return outputs_of(network, network.layout.join(self._weights), inputs)

    def export(self, member: int = 0) -> nn.SNN:
        """Return a trained member as an ordinary module, in evaluation mode.

        Parameters
        ----------
        member : int
            Which one, from 0.

        Returns
        -------
        selfnorm.nn.SNN
            A new network on the trainer's device. Standardised weights are written out. It drops
            at the member's rate in training mode, but not at all where the trainer had ordinary
            dropout after SELU, which an SNN has not.

        Raises
        ------
        DomainError
            If nothing was trained yet, or there is no such member.
        """
        self._check_trained()
        settings = self._settings
        if not isinstance(member, int) or not 0 <= member < settings.members:
            raise DomainError(
                f"member must be a number from 0 to {settings.members - 1}, however: "
                f"member={member!r}"
            )
        net = settings.architecture.build(settings.dropout[member]).to(settings.device)
        arch = settings.architecture
        network = Network(
            arch, settings.loss, settings.seeds[:1], settings.dropout[:1], settings.device
        )
        weights, biases = network.weights_of(network.layout.join([self._weights[member]]))
        with torch.no_grad():
            for (weight, bias), w, b in zip(layers_of(net), weights, biases, strict=True):
                weight.copy_(w)
                if bias is not None and b is not None:
                    bias.copy_(b)
        return net.eval()

    def _check_trained(self) -> None:
        if not self._weights:
            raise DomainError("the trainer must be trained first, however: call fit before")
