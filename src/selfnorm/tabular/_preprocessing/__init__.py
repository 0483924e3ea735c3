"""Tables to the standardised float32 matrix that a self-normalizing network takes."""

from __future__ import annotations

from selfnorm.tabular._preprocessing._columns import CategoryColumn, NumberColumn
from selfnorm.tabular._preprocessing._preprocessor import Preprocessor

__all__ = ["CategoryColumn", "NumberColumn", "Preprocessor"]
