"""Monitors inside other people's training loops."""

from __future__ import annotations

import copy
import importlib
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfnorm import nn as snn
from selfnorm import train
from selfnorm.diagnosis import (
    engine_monitor,
    lightning_monitor,
    skorch_monitor,
    transformers_monitor,
)
from selfnorm.errors import DomainError, MissingDependencyError


def rows(count: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(count, 3, generator=generator)
    return X, (X[:, 0] > 0).long()


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 6), nn.SELU(), nn.Linear(6, 2))


@pytest.mark.parametrize("members", [1, 2])
def test_engine(members: int) -> None:
    X, y = rows()
    lines: list[Any] = []
    monitor = engine_monitor(lines.append, warn=False)
    trainer = train.Trainer(
        snn.SNN(3, 2, width=6, depth=2, generator=torch.Generator().manual_seed(1)),
        members=members,
        epochs=2,
        batch_size=9,
        moments=True,
        callbacks=[monitor],
        progress=False,
        optimizer=train.SGD(lr=0.05, weight_decay=2.0),
    )
    trainer.fit(X, y)
    layers = {layer["layer"]: layer for layer in lines[-1]["layers"]}
    assert len(lines) == 2
    assert len(layers) == 3 * members
    trained = trainer.export(member=members - 1)
    weights = [p.detach() for p in trained.parameters() if p.dim() == 2]
    for number, weight in enumerate(weights):
        layer = layers[f"{members - 1}.{number}"]
        assert layer["weight_sum"] == pytest.approx(float(weight.sum(1).mean()), abs=1e-6)
        assert layer["weight_sumsq"] == pytest.approx(
            float(weight.square().sum(1).mean()), rel=1e-5
        )
        assert ("var" in layer) == (number < 2)
    # The decay multiplies weights by .9 a step: 10 steps leave 12 % of the squares.
    assert {one.code for one in monitor.findings} == {"weight-decay-drift"}
    assert len({one.place for one in monitor.findings}) == len(monitor.findings) == 2 * members


def test_engine_needs_moments() -> None:
    X, y = rows()
    trainer = train.Trainer(
        snn.SNN(3, 2, width=6, depth=2), epochs=1, callbacks=[engine_monitor()], progress=False
    )
    with pytest.raises(DomainError, match="moments=True"):
        trainer.fit(X, y)


@pytest.mark.filterwarnings("ignore")
def test_skorch() -> None:
    skorch = pytest.importorskip("skorch", reason="skorch is not installed")
    X, y = rows()
    monitor = skorch_monitor(every=2, warn=False)
    model = skorch.NeuralNetClassifier(
        net(), max_epochs=2, batch_size=8, callbacks=[("watch", monitor)], verbose=0, lr=0.1
    )
    model.fit(X.numpy(), y.numpy())
    watch = dict(model.callbacks_)["watch"].monitor_
    # 32 of 40 rows are trained on: 4 batches an epoch.
    assert [record["step"] for record in watch.records] == [1, 3, 5, 7]
    assert watch.records[0]["layers"][0]["gradient_norm"] > 0
    assert model.history[-1, "selfnorm"] == watch.records[-1]
    again = pickle.loads(pickle.dumps(monitor))
    assert (again.every, again.options) == (2, {"warn": False})


@pytest.mark.filterwarnings("ignore")
def test_transformers() -> None:
    """The events come in the order in which the library's own handler passes them on."""
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    events: Any = importlib.import_module("transformers.trainer_callback")

    model = net()
    callback = transformers_monitor(every=2, warn=False)
    assert isinstance(copy.deepcopy(callback), library.TrainerCallback)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handler: Any = events.CallbackHandler([callback], model, None, optimizer, None)
    state, control = events.TrainerState(), events.TrainerControl()
    arguments: Any = None
    handler.on_train_begin(arguments, state, control)
    X, y = rows(8)
    for _ in range(3):
        optimizer.zero_grad()
        loss: Any = nn.functional.cross_entropy(model(X), y)
        loss.backward()
        handler.on_pre_optimizer_step(arguments, state, control)
        optimizer.step()
    handler.on_train_end(arguments, state, control)
    assert [record["step"] for record in callback.monitor.records] == [1, 3]
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_transformers_own_trainer(tmp_path: Any) -> None:
    library: Any = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            z = self.net(x)
            return {"loss": nn.functional.cross_entropy(z, labels), "logits": z}

    model, callback = Model(), transformers_monitor(every=2, warn=False)
    arguments = library.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=5,
        per_device_train_batch_size=4,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    data = [{"x": x, "labels": label} for x, label in zip(*rows(12), strict=True)]
    library.Trainer(model, arguments, train_dataset=data, callbacks=[callback]).train()
    assert [record["step"] for record in callback.monitor.records] == [1, 3, 5]
    assert callback.monitor.records[0]["layers"][0]["gradient_norm"] > 0
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning(tmp_path: Any) -> None:
    """Slow: importing the library takes longer than all else here."""
    library: Any = pytest.importorskip("pytorch_lightning", reason="lightning is not installed")

    class Module(library.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def training_step(self, batch: Any, _: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    from torch.utils.data import DataLoader, TensorDataset

    callback = lightning_monitor(every=2, warn=False)
    library.Trainer(
        max_epochs=2,
        callbacks=[callback],
        logger=library.loggers.CSVLogger(str(tmp_path)),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        log_every_n_steps=1,
    ).fit(Module(), DataLoader(TensorDataset(*rows(12)), batch_size=4))
    assert [record["step"] for record in callback.monitor.records] == [1, 3, 5]
    written = next(tmp_path.rglob("metrics.csv")).read_text()
    assert "selfnorm/net.0/weight_sumsq" in written.splitlines()[0]
    assert len(written.splitlines()) == 4
    copy.deepcopy(callback)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from selfnorm.diagnosis import _adapters

    with pytest.raises(MissingDependencyError, match=r"pip install 'selfnorm\[callbacks\]'"):
        _adapters._base("no_such_library", package="lightning")
