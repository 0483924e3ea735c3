"""Write the models that every later version must load: run once a format, never again.

python tests/data/make_saved_models.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from selfnorm.tabular import SNNClassifier, SNNRegressor

HERE = Path(__file__).parent
ROWS = 60


def main() -> None:
    generator = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "size": generator.standard_normal(ROWS),
            "colour": generator.choice(["red", "blue", None], ROWS),
            "town": [f"town {k}" for k in generator.integers(0, 15, ROWS)],
            "count": np.where(generator.random(ROWS) < 0.2, np.nan, generator.integers(0, 9, ROWS)),
        }
    )
    new = {
        "size": [0.25, None, 40.0],
        "colour": ["blue", "unseen", None],
        "town": ["town 3", "elsewhere", "town 1"],
        "count": [4.0, 2.0, None],
    }
    classes = np.array(["no", "yes", "perhaps"])[generator.integers(0, 3, ROWS)]
    small = {"hidden_layer_sizes": (7, 5), "n_members": 3, "max_iter": 4, "random_state": 11}
    models = {
        "classifier": SNNClassifier(**small, fixed_point=(0.0, 0.5)).fit(table, classes),
        "regressor": SNNRegressor(**small, activation="elu").fit(
            table, 100 + 7 * generator.standard_normal(ROWS)
        ),
    }
    for name, model in models.items():
        path = model.save(HERE / f"saved-format1-{name}.safetensors")
        rows = pd.DataFrame(new)
        expected = {"rows": new, "predict": model.predict(rows).tolist()}
        if name == "classifier":
            expected["proba"] = model.predict_proba(rows).tolist()
        path.with_suffix(".json").write_text(json.dumps(expected, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
