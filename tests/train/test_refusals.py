"""What is refused, and in which words."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from selfnorm import nn, train
from selfnorm.errors import DataError, DomainError

ARCHITECTURE = train.Architecture((3, 4, 2))
X = np.arange(12.0).reshape(4, 3)
Y = np.array([0, 1, 1, 0])


def with_value(value: float, row: int, column: int) -> np.ndarray:
    changed = X.copy()
    changed[row, column] = value
    return changed


SETTINGS = [
    ({"members": 0}, "members must be an integer, 1 or more, however: members=0"),
    ({"members": True}, "members=True"),
    ({"epochs": 0}, "epochs=0"),
    ({"batch_size": 2.0}, "batch_size=2.0"),
    ({"loss": "hinge"}, "loss must be one of .*'softmax'.*however: loss='hinge'"),
    ({"optimizer": "adam"}, "optimizer must be a SGD or AdamW, however: optimizer='adam'"),
    ({"schedule": 3}, "schedule must be a Constant or Cosine or Plateau, however: schedule=3"),
    ({"early_stopping": 5}, "early_stopping must be a EarlyStopping"),
    ({"checkpoint": "a"}, "checkpoint must be a Checkpoint"),
    ({"dropout": 1.5}, r"dropout must be a number in \[0, 1\], however: dropout=1.5"),
    ({"dropout": (0.1, 0.2)}, "one for each of members=1, however: 2 came"),
    ({"clip_norm": 0.0}, r"clip_norm must be a number in \(0, inf\)"),
    ({"average": 1.0}, "average=1.0"),
    ({"shuffle": "none"}, "shuffle='none'"),
    ({"on_divergence": "ignore"}, "on_divergence='ignore'"),
    ({"random_state": -1}, "random_state=-1"),
    ({"random_state": "0"}, "random_state='0'"),
    ({"random_state": (1, 2)}, "one for each of members=1, however: 2 came"),
    ({"callbacks": (3,)}, "callbacks must be callable, however: 3 came"),
    ({"cuda_graph": True}, "cuda_graph needs a CUDA device, however: device=cpu"),
    ({"optimizer": train.AdamW((1e-3, 1e-2))}, "lr must be one number or one for each"),
    (
        {"early_stopping": train.EarlyStopping(3, "accuracy"), "loss": "squared"},
        "accuracy needs classes, however: .*Squared",
    ),
]


@pytest.mark.parametrize(("settings", "words"), SETTINGS)
def test_settings(settings: dict, words: str) -> None:
    with pytest.raises(DomainError, match=words):
        train.Trainer(ARCHITECTURE, **settings)


PARTS = [
    (lambda: train.Architecture((3,)), "inputs and outputs at least"),
    (lambda: train.Architecture((3, 0, 2)), r"sizes\[1\] must be an integer, 1 or more"),
    (lambda: train.Architecture("32"), "sizes must be a sequence of integers"),
    (lambda: train.Architecture((3, 2), activation="gelu"), "activation='gelu'"),
    (lambda: train.Architecture((3, 2), dropout=-0.1), "dropout=-0.1"),
    (lambda: train.Architecture((3, 2), dropout_kind="beta"), "dropout_kind='beta'"),
    (
        lambda: train.Architecture((3, 2), activation="relu", dropout_kind="alpha"),
        "alpha dropout keeps the moments of a SELU, however: activation='relu'",
    ),
    (lambda: train.Architecture((3, 2), dtype=torch.bfloat16), "dtype=torch.bfloat16"),
    (
        lambda: train.Architecture((1, 3, 2), weight_standardized=True),
        "weights of one input cannot be centred",
    ),
    (lambda: train.Architecture((3, 2), fixed_point=(0.0, -1.0)), "var"),
    (lambda: train.Architecture((3, 2), weight_init="zeros"), "weight_init='zeros'"),
    (lambda: train.Softmax(1.0), r"label_smoothing must be a number in \[0, 1\)"),
    (lambda: train.Huber(0.0), r"delta must be a number in \(0, inf\)"),
    (lambda: train.Pinball(()), "quantiles must have at least one number"),
    (lambda: train.Pinball((0.5, 1.0)), "quantiles=1.0"),
    (lambda: train.SGD(lr=0.0), r"lr must be a number in \(0, inf\)"),
    (lambda: train.SGD(lr=(0.1, math.nan)), "lr=nan"),
    (lambda: train.SGD(momentum=1.0), "momentum=1.0"),
    (lambda: train.SGD(nesterov=True), "Nesterov's momentum needs momentum > 0"),
    (lambda: train.AdamW(betas=(0.9, 1.0)), "betas=1.0"),
    (lambda: train.AdamW(betas=0.9), "betas must be two numbers"),
    (lambda: train.AdamW(eps=0.0), "eps=0.0"),
    (lambda: train.AdamW(weight_decay=-1.0), "weight_decay=-1.0"),
    (lambda: train.Constant(-1.0), "warmup=-1.0"),
    (lambda: train.Cosine(final=1.5), "final=1.5"),
    (lambda: train.Plateau(factor=1.0), "factor=1.0"),
    (lambda: train.Plateau(patience=0), "patience=0"),
    (lambda: train.EarlyStopping(0), "patience=0"),
    (lambda: train.EarlyStopping(3, "auc"), "metric='auc'"),
    (lambda: train.EarlyStopping(3, mode="best"), "mode='best'"),
    (lambda: train.EarlyStopping(3, min_delta=-0.1), "min_delta=-0.1"),
    (lambda: train.Checkpoint(""), "path must name a file"),
    (lambda: train.Checkpoint("a", every=0), r"every must be a number in \(0, inf\)"),
    (lambda: train.Checkpoint("a", unit="steps"), "unit='steps'"),
]


@pytest.mark.parametrize(("make", "words"), PARTS)
def test_parts(make, words: str) -> None:
    with pytest.raises(DomainError, match=words):
        make()


DATA = [
    ((with_value(math.nan, 2, 1), Y), {}, "in torch.float32, however: nan in row 2, column 1"),
    ((with_value(-math.inf, 3, 0), Y), {}, "-inf in row 3, column 0"),
    ((with_value(1e300, 0, 2), Y), {}, "inf in row 0, column 2"),
    ((X[:, :2], Y), {}, r"X must have shape \(n_rows, 3\) .*however: X.shape=\(4, 2\)"),
    ((X[:0], Y[:0]), {}, r"at least one row, however: X.shape=\(0, 3\)"),
    ((X[0], Y), {}, r"X.shape=\(3,\)"),
    (([["a", "b", "c"]], Y), {}, "X must be an array of numbers"),
    ((X, Y[:3]), {}, r"y must have one entry for each of the 4 rows, however: y.shape=\(3,\)"),
    ((X, Y.astype(float)), {}, "y must be class numbers, integers"),
    ((X, Y + 1), {}, r"classes must be numbered 0 to 1 for 2 outputs, however: y\[1\]=2"),
    ((X, Y - 1), {}, r"y\[0\]=-1"),
    ((X, np.array(["a", "b", "b", "a"])), {}, "y must be an array of numbers"),
    ((X, Y), {"sample_weight": [1.0, 2.0]}, r"sample_weight.shape=\(2,\)"),
    ((X, Y), {"sample_weight": [1.0, -2.0, 1, 1]}, "0 or more, however: -2 in row 1"),
    ((X, Y), {"sample_weight": [1.0, math.nan, 1, 1]}, "sample_weight must be finite .*row 1"),
    ((X, Y), {"sample_weight": [0, 0, 0, 0]}, "must not all be 0"),
    ((X, Y), {"class_weight": {2: 1.0}}, r"class_weight\[2\]=1.0"),
    ((X, Y), {"class_weight": {0: -1.0}}, r"class_weight\[0\]=-1.0"),
    ((X, Y), {"class_weight": [1, 2]}, r"class_weight=\[1, 2\]"),
    ((X, Y), {"validation": [4]}, "from 0 to 3, at least one, however: member 0 has 1 rows from 4"),
    ((X, Y), {"validation": [0, 0]}, "member 0 has some twice"),
    ((X, Y), {"validation": [0.5]}, "validation must be a pair"),
    ((X, Y), {"validation": [0, 1, 2, 3]}, "holds all 4 rows of member 0 out"),
    ((X, Y), {"validation": [[0], [1]]}, "rows for each of members=1, however: 2 came"),
    ((X, Y), {"rows": [[0, 4]]}, "rows must be row numbers from 0 to 3"),
    ((X, Y), {"rows": [0, 1]}, "rows must list rows for each of members=1, however: 2 came"),
    ((X, Y), {"rows": 3}, "rows must list rows for each of members=1, however: int;"),
    ((X, Y), {"rows": [[0.5]]}, "rows must be row numbers"),
    ((X, Y), {"rows": [[1, 2]], "validation": [[2, 3]]}, "member 0 has 1 rows in both"),
    ((X, Y), {"validation": (X[:, :2], Y)}, "validation X must have shape"),
    ((X, Y), {"validation": (X, Y[:2])}, "validation y must have one entry"),
    ((X, Y), {"validation": (with_value(math.nan, 1, 1), Y)}, "validation X must be finite"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "more", "words"), DATA)
def test_data(data: tuple, more: dict, words: str) -> None:
    with pytest.raises(DomainError, match=words):
        train.Trainer(ARCHITECTURE).fit(*data, **more)


def test_targets_of_other_losses() -> None:
    def fit(loss, y, outputs=2, **more):
        train.Trainer(train.Architecture((3, 4, outputs)), loss=loss).fit(X, y, **more)

    real = np.array([0.5, math.inf, 1.0, 2.0])
    with pytest.raises(DomainError, match=r"y must be finite .*inf in row 1"):
        fit("squared", real, 1)
    with pytest.raises(DomainError, match="one column for each of the 2 outputs of the squared"):
        fit("squared", Y)
    with pytest.raises(DomainError, match=r"y must lie in \[0, 1\] .*y\[3, 0\]=2"):
        fit("binary", np.array([0, 1, 0, 2]), 1)
    with pytest.raises(DomainError, match="multiple of 3 outputs"):
        fit(train.Pinball((0.1, 0.5, 0.9)), Y)
    with pytest.raises(DomainError, match="at least 2 outputs, however: outputs=1"):
        fit("softmax", Y, 1)
    with pytest.raises(DomainError, match="class_weight needs one class for each row"):
        fit("squared", np.c_[Y, Y], class_weight="balanced")
    with pytest.raises(DomainError, match="class_weight needs one class for each row"):
        fit("binary", np.c_[Y, Y], class_weight="balanced")


def test_unequal_members() -> None:
    many = np.zeros((40, 3))
    y = np.zeros(40, dtype=int)
    trainer = train.Trainer(ARCHITECTURE, members=2, batch_size=4)
    with pytest.raises(DomainError, match="one has 3 rows, another takes 10 steps"):
        trainer.fit(many, y, validation=[np.arange(37), np.array([0])])
    shared = train.Trainer(ARCHITECTURE, members=2, shuffle="shared")
    with pytest.raises(DomainError, match="members that share their batches"):
        shared.fit(X, Y, validation=[[0], [1]])
    with pytest.raises(DomainError, match="rows lists rows for each member"):
        shared.fit(X, Y, rows=[[0], [1]])


def test_order_of_calls() -> None:
    trainer = train.Trainer(ARCHITECTURE, epochs=1)
    for call in (trainer.export, lambda: trainer.predict(X)):
        with pytest.raises(DomainError, match="must be trained first"):
            call()
    trainer.fit(X, Y)
    with pytest.raises(DomainError, match="from 0 to 0, however: member=1"):
        trainer.export(1)
    with pytest.raises(DomainError, match="nan in row 0, column 0"):
        trainer.predict(with_value(math.nan, 0, 0))
    stopping = train.Trainer(ARCHITECTURE, early_stopping=train.EarlyStopping())
    with pytest.raises(DomainError, match="early stopping needs rows that are held out"):
        stopping.fit(X, Y)


def test_models() -> None:
    with pytest.raises(DomainError, match="however: a Linear; train other modules"):
        train.Trainer(torch.nn.Linear(3, 2))
    with pytest.raises(DomainError, match=r"activation must be one of .*'gelu'"):
        train.Trainer(nn.SNN(3, 2, width=4, depth=1, activation="gelu"))
    changed = nn.SNN(3, 2, width=4, depth=1)
    changed.hidden.append(torch.nn.BatchNorm1d(4))
    with pytest.raises(DomainError, match=r"model.hidden\[1\]=BatchNorm1d"):
        train.Trainer(changed)
    changed = nn.SNN(3, 2, width=4, depth=1)
    changed.hidden[0].dropout = 0.4
    with pytest.raises(DomainError, match=r"model.hidden\[0\]=LinearSELU"):
        train.Trainer(changed)
    changed = nn.SNN(3, 2, width=4, depth=1)
    changed.head.double()
    with pytest.raises(DomainError, match="of one dtype"):
        train.Trainer(changed)
    with pytest.raises(DomainError, match=r"dtype=torch.bfloat16"):
        train.Trainer(nn.SNN(3, 2, width=4, depth=1, dtype=torch.bfloat16))


def test_files(tmp_path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"")
    trainer = train.Trainer(ARCHITECTURE, checkpoint=train.Checkpoint(path))
    with pytest.raises(DomainError, match=r"must not overwrite a checkpoint, however: .*a.ckpt"):
        trainer.fit(X, Y)
    with pytest.raises(DataError, match=r"must be a checkpoint of selfnorm.train"):
        trainer.resume(path)
    with pytest.raises(DataError, match="must be a readable file"):
        trainer.resume(tmp_path / "none")
    torch.save({"format": "another"}, path)
    with pytest.raises(DataError, match="format='another'"):
        trainer.resume(path)
