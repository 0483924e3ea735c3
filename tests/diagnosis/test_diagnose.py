"""The measurement: known answers in both directions, numbers against plain torch and theory."""

from __future__ import annotations

import pytest
import torch

import selfnorm as sn

from .nets import HEALTHY, SICK

SKIPPED = {"meta", "empty", "could not"}
WITH_DATA = [name for name, (_, data) in HEALTHY.items() if data is not None]


@pytest.mark.parametrize("name", [n for n in WITH_DATA if n not in SKIPPED])
def test_a_healthy_network_passes(name: str) -> None:
    torch.manual_seed(22)
    make, data = HEALTHY[name]
    assert data is not None
    found = sn.diagnose(make(), data())
    assert found.healthy, str(found)


@pytest.mark.parametrize("name", [n for n, (_, data, _) in SICK.items() if data is not None])
def test_the_first_finding_names_the_fault(name: str) -> None:
    torch.manual_seed(23)
    make, data, code = SICK[name]
    assert data is not None
    found = sn.diagnose(make(), data())
    assert not found.healthy
    assert found.findings[0].code == code, str(found)
