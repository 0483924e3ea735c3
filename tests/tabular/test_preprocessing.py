"""The preprocessing as a whole: outputs, columns, refusals, storage."""

from __future__ import annotations

import numpy as np
import pytest

from selfnorm.tabular._preprocessing import Preprocessor


def test_columns_have_mean_0_and_variance_1_on_the_training_rows() -> None:
    rng = np.random.default_rng(3)
    X = np.column_stack(
        [
            rng.normal(7, 0.01, 400),
            rng.lognormal(2, 3, 400),
            rng.standard_cauchy(400) * 1e6,
            rng.integers(0, 4, 400),
            rng.random(400) < 0.3,
        ]
    )
    out = Preprocessor().fit(X).transform(X)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(out.var(axis=0, dtype=np.float64), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "bad", [[1.0, 2.0], np.zeros((0, 3)), np.zeros((3, 0)), [[1j]], [[np.inf]]]
)
def test_what_is_no_table_of_numbers_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match=r"Expected 2D|0 sample|0 feature|Complex|inf"):
        Preprocessor().fit(bad)
