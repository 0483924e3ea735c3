"""Estimators for tables, in the manner of scikit-learn."""

from __future__ import annotations

from selfnorm.tabular._classifier import SNNClassifier
from selfnorm.tabular._regressor import SNNRegressor
from selfnorm.tabular._saving import load
from selfnorm.tabular._search import SNNSearchCV
from selfnorm.tabular._table_prediction import read_rows

__all__ = ["SNNClassifier", "SNNRegressor", "SNNSearchCV", "load", "read_rows"]
