"""A classifier in the manner of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin

from selfnorm import train
from selfnorm.errors import DataError, DomainError
from selfnorm.tabular._calibration import fit_temperature
from selfnorm.tabular._class_predictions import ClassPredictions
from selfnorm.tabular._engine import Job
from selfnorm.tabular._held_out import cross_fitted, wants_cross_fit
from selfnorm.tabular._labels import class_factors, labels_of, numbers_of
from selfnorm.tabular._mixture import fit_shares
from selfnorm.tabular._offsets import fit_scale_and_offsets
from selfnorm.tabular._rows import Rows

__all__ = ["SNNClassifier"]

Array = NDArray[Any]


class SNNClassifier(ClassifierMixin, ClassPredictions):  # type: ignore[misc]
    r"""Classify rows of a table with an ensemble of self-normalizing networks.

    Give it the table as it is: numbers of any scale, missing values, categories, texts. Several
    networks with SELU, LeCun-normal weights and alpha dropout are trained side by side on all rows,
    their logits are averaged, and a temperature and offsets make the probabilities honest.
    Everything that is ``"auto"`` follows from the numbers of rows, columns and classes; whatever is
    given wins.

    Parameters
    ----------
    hidden_layer_sizes : "auto", int or sequence of int
        Units of each hidden layer; ``()`` is a linear model.
    activation : {"selu", "elu", "relu", "leaky_relu"}
        Activation of the hidden units. Others than SELU have ordinary dropout.
    fixed_point : "auto", (float, float) or "depth-matched"
        Mean and variance that SELU layers keep; see :class:`selfnorm.nn.SNN`. Auto: (0, 1), from 16
        hidden layers on depth-matched.
    dropout : "auto" or float
        Probability of dropping a hidden unit in training, in [0, 1). Auto: where SELU layers are 16
        or more, or keep a variance below 1, at most the rate at which gradients keep their size.
    n_members : "auto" or int
        Networks in the ensemble, at least 1.
    solver : {"adamw", "sgd"}
        The optimiser; sgd has Nesterov's momentum 0.9.
    learning_rate : {"cosine", "constant", "adaptive"}
        Cosine: the rate falls to 0 over ``max_iter`` epochs. Adaptive: it is divided by 5 when the
        loss (with early stopping: the held-out loss) has not fallen for ``n_iter_no_change``
        epochs.
    learning_rate_init : "auto" or float
        The rate at the start, greater than 0. Auto: 0.003, for L > 4 hidden layers times
        4 / L.
    weight_decay : "auto" or float
        Decoupled weight decay, 0 or more; biases do not decay. Auto: none up to 2,400 rows; above,
        one half of the members has it (up to 2, less the more classes, none for ten), and rows that
        were held out tell how much either half counts. Not with early stopping, sgd, `partial_fit`
        or an indicator y.
    batch_size : "auto" or int
        Rows of a step.
    max_iter : "auto" or int
        Epochs: passes over the rows. Auto: for L > 4 hidden layers sqrt(L / 4) times as many.
    label_smoothing : "auto" or float
        Share of the probability, in [0, 1), that the targets spread over all classes.
    class_weight : None, "balanced" or dict
        Factors of the rows' weights by class; balanced: inverse to the classes' frequencies.
    categorical_features : "auto", None or sequence of str, int or bool
        Which columns are categories. ``"auto"``: those that hold text.
    bins : "auto" or int
        Bins of the piecewise linear features that stand beside each column of numbers, at least 2;
        0: none.
    calibrate : "auto" or bool
        Whether to fit temperature and offsets to rows that were held out. It costs no training
        rows: below 5,000 rows four more members, each of which sees 3/4 of the rows, are trained
        beside the others and then dropped (auto: if the ensemble has four members or more); from
        there on, and where members differ in weight decay, each holds out another 1/16 of the rows,
        those without decay the same as those with it. With early stopping its rows are taken.
    early_stopping : bool
        Stop each member when the loss on rows that it holds out has not fallen for
        ``n_iter_no_change`` epochs, and take its best weights. On small tables this costs accuracy:
        the default trains on all rows to the end of the cosine.
    validation_fraction : float
        Share of the rows that each member holds out for early stopping, another part each.
    n_iter_no_change : int
        Epochs without gain before a stop or, for ``learning_rate="adaptive"``, a lower rate.
    tol : float
        By how much the loss must fall to count as a gain.
    warm_start : bool
        Whether `fit` goes on from the networks at hand, with their preprocessing and classes.
    random_state : int, RandomState, Generator or None
        Fixes everything random. An int gives the same bits each time, on one machine with as many
        threads. None takes entropy from the operating system: unlike elsewhere in scikit-learn,
        NumPy's global state is neither read nor changed.
    device : str or torch.device
        Where to train and to predict: "cpu", "cuda", "cuda:1".
    n_jobs : int or None
        Threads for torch's products meanwhile; None leaves torch's own setting.
    verbose : bool
        Whether to show a bar.

    Attributes
    ----------
    classes_ : numpy.ndarray
        The classes, sorted; for an indicator y the numbers of its columns.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : numpy.ndarray of str
        Their names, if X has names that are all strings.
    preprocessor_ : Preprocessor
        What turns X into the matrix that the networks take.
    networks_ : list of selfnorm.nn.SNN
        The members, in evaluation mode.
    member_weight_decays_, member_factors_ : numpy.ndarray of shape (n_members,)
        Each member's weight decay, and how much it counts: the factor, 1 on average, that its
        outputs were multiplied by after the training. The networks' heads have taken it up.
    temperature_ : float
        What the mean logits are divided by; 1 where nothing was held out.
    logit_offsets_ : numpy.ndarray of shape (outputs,)
        What is then added; 0 where nothing was held out, and for an indicator y.
    n_iter_ : int
        Epochs; with early stopping of the member that took longest.
    n_layers_ : int
        Layers, input and output included.
    n_outputs_ : int
        Outputs of a network: 1 for two classes, else one for each class or label.
    out_activation_ : {"logistic", "softmax"}
        What turns logits into probabilities.
    loss_, best_loss_ : float
        Mean training loss of the members in the last epoch, and the lowest.
    loss_curve_ : list of float
        The same for each epoch, in nats, with dropout and label smoothing.
    validation_scores_, best_validation_score_ : list of float, float; or None
        With early stopping: minus the members' mean held-out loss after each epoch, and the best.
    t_ : int
        Rows seen, all epochs together.

    Raises
    ------
    DomainError
        By `fit`: if a parameter lies outside its domain. A ValueError.
    DataError
        By `fit`: if X or y cannot be learnt from. A ValueError.

    Notes
    -----
    **Weights are copies.** Rows that are alike after the preprocessing are merged and their weights
    added (up to 1,048,576 rows), and rows are brought into an order of their own. So a weight of k
    gives the bits that k copies of the row give, 0 those of leaving it out, and the order of the
    rows does not matter.

    **Probabilities** are softmax(z / T + b) of the members' mean logits z, with temperature T and
    offsets b that make held-out rows most probable under a prior of 1 and 0: few rows move them
    little. Unlike T alone, b may change the predicted class.

    **Two kinds of members.** Weight decay helps on some tables of thousands of rows and hurts on
    others. From 2,400 rows on there is one half of the members for either case; a convex fit to the
    log-loss of held-out rows finds how much each counts (stacking), before temperature and offsets.
    Rows of which there are copies count there as rows that have been seen.

    **Precision.** Up to 1,024 rows are predicted in float64, more in float32: then the last digits
    may depend on which rows stand beside each other.

    `predict_members` and `mutual_information` show how far the members agree.

    References
    ----------
    Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017, arXiv:1706.02515. Guo et
    al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from selfnorm.tabular import SNNClassifier
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = SNNClassifier(n_members=2, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    >>> model.predict_proba(X[:2]).shape
    (2, 3)
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        *,
        activation: str = "selu",
        fixed_point: Any = "auto",
        dropout: Any = "auto",
        n_members: Any = "auto",
        solver: str = "adamw",
        learning_rate: str = "cosine",
        learning_rate_init: Any = "auto",
        weight_decay: Any = "auto",
        batch_size: Any = "auto",
        max_iter: Any = "auto",
        label_smoothing: Any = "auto",
        class_weight: Any = None,
        categorical_features: Any = "auto",
        bins: Any = "auto",
        calibrate: Any = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        random_state: Any = None,
        device: Any = "cpu",
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.fixed_point = fixed_point
        self.dropout = dropout
        self.n_members = n_members
        self.solver = solver
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.categorical_features = categorical_features
        self.bins = bins
        self.calibrate = calibrate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.n_jobs = n_jobs
        self.verbose = verbose

    # ---- training ----------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on a table.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            Array, DataFrame or sparse matrix; NaN and None are missing values.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Classes of any kind (numbers, strings, booleans), or a 0/1 indicator of labels that may
            come together.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, 0 or more.

        Returns
        -------
        SNNClassifier
            Itself.
        """
        return self._fit(X, y, sample_weight)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Pass over a batch of rows once.

        The first batch fixes the preprocessing, so let it be a typical one of some hundred rows.
        What is ``"auto"`` is chosen as for a table of 10,000 rows. The rate stays at
        ``learning_rate_init``, the optimiser's state is kept from call to call, and
        ``temperature_`` is not changed. After `fit` the networks at hand learn on.

        Parameters
        ----------
        X : table of shape (n_samples, n_features)
            The batch.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Its classes or labels.
        classes : array-like of shape (n_classes,), optional
            All classes that may come; needed in the first call unless y is an indicator.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, 0 or more.

        Returns
        -------
        SNNClassifier
            Itself.
        """
        first = not hasattr(self, "networks_")
        several = labels_of(y)[1]
        if not several and (classes is not None or first):
            if classes is None:
                raise DomainError(
                    "classes must be passed on the first call to partial_fit, however: "
                    "classes=None; give all classes that may come"
                )
            given = np.unique(classes)
            if first:
                self._describe(given)
            elif not np.array_equal(given, self.classes_):
                raise DomainError(
                    "classes must be those of the first call to partial_fit, "
                    f"{self.classes_.tolist()}, however: classes={given.tolist()}"
                )
        return self._partial_fit(X, y, sample_weight, described=not first or not several)

    def _encode(
        self, y: Any, weights: Array | None, *, describe: bool
    ) -> tuple[Array, Array | None]:
        labels, several = labels_of(y)
        if several:
            if self.class_weight is not None:
                raise DomainError(
                    "class_weight needs one class for each row, however: y has "
                    f"{labels.shape[1]} labels; use sample_weight"
                )
            if describe:
                self._describe(np.arange(labels.shape[1]), several=True)
            return labels, weights
        needed = None if weights is None else weights > 0.0
        if describe:
            self._describe(np.unique(labels if needed is None else labels[needed]))
        numbers = numbers_of(labels, self.classes_, needed)
        factors = class_factors(self.class_weight, self.classes_, numbers, weights)
        if factors is not None:
            weights = factors[numbers] if weights is None else weights * factors[numbers]
        return numbers, weights

    def _describe(self, classes: Array, *, several: bool = False) -> None:
        """Set what depends on the classes."""
        if len(classes) < 2 and not several:
            raise DataError(
                "y must have at least 2 classes among the rows of positive weight, however: only "
                f"one class came, {classes[0]!r}"
            )
        self.classes_ = classes
        one = several or len(classes) == 2
        self.n_outputs_ = 1 if one and not several else len(classes)
        self.out_activation_ = "logistic" if one else "softmax"
        self.temperature_ = 1.0
        self.logit_offsets_ = np.zeros(self.n_outputs_)

    def _loss(self) -> train.Softmax | train.Binary:
        return train.Softmax() if self.out_activation_ == "softmax" else train.Binary()

    def _network_outputs(self) -> int:
        return self.n_outputs_

    def _mixes(self) -> bool:
        one_class_a_row = self.out_activation_ == "softmax" or self.n_outputs_ == 1
        return one_class_a_row and self.solver == "adamw" and not self.early_stopping

    def _cross_fit(self, job: Job) -> Job:
        return cross_fitted(job) if wants_cross_fit(self.calibrate, job) else job

    def _calibrate(self, rows: Rows, outputs: Array, seen: Array) -> None:
        if not self.calibrate:
            return
        told = np.isfinite(outputs[:, :, 0]).all(0)
        logits, y = outputs[:, told], rows.y[told]
        weights = None if rows.weights is None else rows.weights[told]
        if y.ndim == 2:  # several labels a row
            self.temperature_ = fit_temperature(logits[0], y, weights)
            return
        shares = np.ones(1)
        if len(logits) > 1:
            shares = fit_shares(logits, seen[:, told], y, weights)
            of_kind = np.unique(self.member_weight_decays_, return_inverse=True)[1]
            self._weigh(len(of_kind) * (shares / np.bincount(of_kind))[of_kind])
        logits = np.tensordot(shares, logits, 1)
        if self.n_outputs_ == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        scale, offsets = fit_scale_and_offsets(logits, y, weights)
        self.temperature_ = 1.0 / scale
        self.logit_offsets_ = offsets[1:] - offsets[0] if self.n_outputs_ == 1 else offsets

    def __sklearn_tags__(self) -> Any:
        """Say what targets are welcome."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = True
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags
