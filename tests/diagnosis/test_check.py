"""The linter: known answers in both directions, and the line that mends a fault does mend it."""

from __future__ import annotations

import pytest
import torch

import selfnorm as sn

from .nets import HEALTHY, SICK


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_network_has_no_findings(name: str) -> None:
    torch.manual_seed(20)
    make, data = HEALTHY[name]
    found = sn.check(make(), None if data is None else data())
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("name", SICK)
def test_the_first_finding_names_the_fault(name: str) -> None:
    torch.manual_seed(21)
    make, data, code = SICK[name]
    found = sn.check(make(), None if data is None else data())
    assert [one.code for one in found][:1] == [code], "\n".join(map(str, found))
