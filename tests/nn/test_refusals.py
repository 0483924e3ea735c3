"""Arguments that make no sense are refused by name and value, not by a traceback from inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import selfnorm as sn
from selfnorm import diagnosis, init, nn
from selfnorm.errors import DataError, DomainError

NAN = float("nan")
NET = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.SELU(), torch.nn.Linear(4, 2))

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "rnn of text": (lambda: nn.SELURNN("x", 8), "in_features='x'"),  # type: ignore[arg-type]
    "field of text": (lambda: nn.SNNField("a"), "features='a'"),  # type: ignore[arg-type]
    "share of text": (lambda: nn.SNNField(2, time_share="x"), "time_share='x'"),  # type: ignore[arg-type]
    "share of nan": (lambda: nn.SNNField(2, time_share=NAN), "time_share=nan"),
    "no loss": (
        lambda: nn.flow_matching_loss(None, torch.zeros(3, 2)),  # type: ignore[arg-type]
        "field=None",
    ),
    "array for data": (
        lambda: nn.flow_matching_loss(torch.add, np.zeros((3, 2))),  # type: ignore[arg-type]
        "ndarray came",
    ),
    "no field": (lambda: nn.integrate_flow(3, torch.zeros(3, 2)), "field=3"),  # type: ignore[arg-type]
    "flow of numbers": (lambda: nn.integrate_flow(torch.add, 3), "x is int"),  # type: ignore[arg-type]
    "window of one dimension": (lambda: nn.WSConv2d(6, 8, (3,)), r"kernel_size=\(3,\)"),
    "stride of text": (lambda: nn.WSConv1d(6, 8, 3, stride="x"), "stride='x'"),  # type: ignore[arg-type]
    "negative padding": (lambda: nn.WSConv3d(6, 8, 3, padding=-1), "padding=-1"),
    "padding of a word": (lambda: nn.WSConv2d(6, 8, 3, padding="full"), "padding='full'"),
    "dilation 0": (lambda: nn.WSConv2d(6, 8, 3, dilation=0), "dilation=0"),
    "padding mode": (lambda: nn.WSConv2d(6, 8, 3, padding_mode="zero"), "padding_mode='zero'"),
    "too many": (lambda: nn.LinearSELU(3, 10**30), "out_features=10{30}; count"),
    "a window of too many": (lambda: nn.MaxPool2d(10**30), "kernel_size=10{30}"),
    "one number": (lambda: nn.StandardizedInput(0.0, 1.0), "mean=0.0"),  # type: ignore[arg-type]
    "a text": (lambda: nn.StandardizedInput([0.0], "1"), "std='1'"),  # type: ignore[arg-type]
    "a table": (lambda: nn.StandardizedInput(np.ones((2, 2)), [1.0]), r"\[1., 1.\]"),  # type: ignore[arg-type]
    "an axis": (lambda: nn.StandardizedInput([0.0], [1.0], axis=0.5), "axis=0.5"),  # type: ignore[arg-type]
    "only nan": (lambda: nn.StandardizedInput.from_data(torch.full((3, 2), NAN)), "all its 6"),
    "no frequencies": (lambda: nn.OneHotInput(3), "frequencies=3"),  # type: ignore[arg-type]
    "frequency of text": (lambda: nn.OneHotInput(["ab"]), r"frequencies\[0\]='ab'"),  # type: ignore[list-item]
    "no optimiser": (lambda: nn.keep_row_norms(NET, None), "optimizer=None"),  # type: ignore[arg-type]
    "one path": (
        lambda: nn.keep_row_norms(NET, torch.optim.SGD(NET.parameters()), layers="0"),
        r"write \['0'\]",
    ),
    "init method": (lambda: init.initialize_(NET, method=[]), r"method=\[\]"),  # type: ignore[arg-type]
    "monitor's optimiser": (lambda: sn.Monitor(NET, optimizer="sgd"), "optimizer='sgd'"),  # type: ignore[arg-type]
    "monitor's log": (lambda: sn.Monitor(NET, log="."), "'.' is a folder"),
    "monitor's records": (lambda: sn.Monitor(NET, keep=10**30), "keep=10{30}"),
    "one depth": (lambda: diagnosis.coord_check(lambda depth: NET, depths=4), "depths=4"),  # type: ignore[arg-type]
    "tolerance": (
        lambda: diagnosis.coord_check(lambda depth, width: NET, tolerance="x"),  # type: ignore[arg-type]
        "tolerance='x'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name_and_value(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises((DomainError, DataError), match=words):
        make()


def test_what_is_meant_is_still_taken() -> None:
    assert nn.WSConv2d(6, 8, (3, 2), padding="same").padding == "same"
    assert nn.WSConv1d(6, 8, 3, stride=(2,), padding=(1,)).stride == (2,)
    assert nn.StandardizedInput(np.array([0.5, 2.0]), (1, 3.0)).in_features == 2  # type: ignore[arg-type]
    assert nn.StandardizedInput.from_data(torch.tensor([[1.0, NAN], [2.0, NAN]])).std[1] == 0.0
    x = torch.tensor([-1.0, 2.0])
    assert torch.equal(sn.functional.elu(x, alpha=10**20), torch.nn.functional.elu(x, alpha=1e20))
