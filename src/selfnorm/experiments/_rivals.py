"""The methods that the tabular experiment compares, each at its own defaults."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, Final

import selfnorm
from selfnorm.experiments._tabular_data import Table

__all__ = ["METHODS", "Method"]

Build = Callable[[bool, int], Any]


@dataclasses.dataclass(frozen=True)
class Method:
    """A method, and what it takes to run it.

    Attributes
    ----------
    name : str
        Its name in tables and options.
    words : str
        What it is, and in which scaling of the inputs.
    package, module : str
        Distribution that brings it, and the module to import.
    build : callable
        Called with whether to classify and a seed; returns an estimator with ``fit`` and
        ``predict``, in one thread where the method leaves the choice.
    """

    name: str
    words: str
    package: str
    module: str
    build: Build

    @property
    def installed(self) -> bool:
        """Whether its module can be found."""
        return importlib.util.find_spec(self.module) is not None

    @property
    def version(self) -> str:
        """Package and version."""
        if self.package == "selfnorm":  # which may run from a checkout, without metadata
            return f"selfnorm {selfnorm.__version__}"
        return f"{self.package} {importlib.metadata.version(self.package)}"

    @property
    def absence(self) -> str:
        """One line that says what is missing and how to get it."""
        return (
            f"{self.name} is left out: it needs {self.package}, which is not installed; "
            f"install it with: pip install {self.package}"
        )

    def estimator(self, table: Table, seed: int) -> Any:
        """Return a new estimator for a table.

        Parameters
        ----------
        table : Table
            The data set; its task decides between classifier and regressor.
        seed : int
            Its random state.

        Returns
        -------
        estimator
            With ``fit`` and ``predict``, and ``predict_proba`` where the method has it.
        """
        return self.build(table.task == "classification", seed)


def _selfnorm(classify: bool, seed: int) -> Any:
    estimator: Any = selfnorm.SNNClassifier if classify else selfnorm.SNNRegressor
    return estimator(random_state=seed)


def _forest(classify: bool, seed: int) -> Any:
    from sklearn import ensemble

    kind = ensemble.RandomForestClassifier if classify else ensemble.RandomForestRegressor
    return kind(500, random_state=seed)


def _svm(cost: float) -> Build:
    def build(classify: bool, seed: int) -> Any:
        from sklearn import svm

        return _scaled(svm.SVC(C=cost) if classify else svm.SVR(C=cost))

    return build


def _mlp(classify: bool, seed: int) -> Any:
    from sklearn import neural_network

    kind = neural_network.MLPClassifier if classify else neural_network.MLPRegressor
    return _scaled(kind(random_state=seed))


def _scaled(estimator: Any) -> Any:
    from sklearn import pipeline, preprocessing

    return pipeline.make_pipeline(preprocessing.StandardScaler(), estimator)


def _histogram_boosting(classify: bool, seed: int) -> Any:
    from sklearn import ensemble

    kind: Any = (
        ensemble.HistGradientBoostingClassifier
        if classify
        else ensemble.HistGradientBoostingRegressor
    )
    return kind(random_state=seed)


def _lightgbm(classify: bool, seed: int) -> Any:
    module = importlib.import_module("lightgbm")
    kind = module.LGBMClassifier if classify else module.LGBMRegressor
    return kind(random_state=seed, n_jobs=1, verbose=-1)


def _catboost(classify: bool, seed: int) -> Any:
    module = importlib.import_module("catboost")
    kind = module.CatBoostClassifier if classify else module.CatBoostRegressor
    return kind(random_state=seed, thread_count=1, verbose=0, allow_writing_files=False)


def _pytabkit(stem: str) -> Build:
    def build(classify: bool, seed: int) -> Any:
        module = importlib.import_module("pytabkit")
        kind = getattr(module, f"{stem}_{'Classifier' if classify else 'Regressor'}")
        return kind(random_state=seed, n_threads=1, device="cpu")

    return build


_SKLEARN: Final = ("scikit-learn", "sklearn")

METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for method in (
        Method(
            "selfnorm",
            "SNNClassifier and SNNRegressor of this library at their defaults",
            "selfnorm",
            "selfnorm.tabular",
            _selfnorm,
        ),
        Method("rf", "random forest of 500 trees", *_SKLEARN, _forest),
        Method("svm", "support vector machine, C = 1, z-scored inputs", *_SKLEARN, _svm(1.0)),
        Method("svm-c10", "support vector machine, C = 10, z-scored inputs", *_SKLEARN, _svm(10.0)),
        Method("mlp", "scikit-learn's multi-layer perceptron, z-scored inputs", *_SKLEARN, _mlp),
        Method("hgb", "scikit-learn's histogram boosting", *_SKLEARN, _histogram_boosting),
        Method("lightgbm", "LightGBM", "lightgbm", "lightgbm", _lightgbm),
        Method("catboost", "CatBoost", "catboost", "catboost", _catboost),
        Method(
            "realmlp", "RealMLP-TD of pytabkit", "pytabkit", "pytabkit", _pytabkit("RealMLP_TD")
        ),
        Method("tabm", "TabM-D of pytabkit", "pytabkit", "pytabkit", _pytabkit("TabM_D")),
    )
}
