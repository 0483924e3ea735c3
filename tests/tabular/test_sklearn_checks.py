"""scikit-learn's own checks of an estimator, none of them excused."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from selfnorm.tabular import SNNClassifier, SNNRegressor

SMALL: dict[str, Any] = {"hidden_layer_sizes": (16, 16), "n_members": 2}


@parametrize_with_checks([SNNClassifier(**SMALL), SNNRegressor(**SMALL)])
def test_check(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([SNNClassifier(), SNNRegressor()])
def test_check_of_the_defaults(estimator: Any, check: Any) -> None:
    check(estimator)
