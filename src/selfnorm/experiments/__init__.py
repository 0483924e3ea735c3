"""Experiments: each is one function that trains, measures and writes a report.

Needs torch and scikit-learn (``pip install 'selfnorm[experiments]'``).
"""

from __future__ import annotations

from selfnorm.experiments._arms import ARMS
from selfnorm.experiments._autoencoder import autoencoder
from selfnorm.experiments._bench import BENCH_TASKS, BenchRow, bench
from selfnorm.experiments._bn_vs_selu import IMAGE_ARMS, bn_vs_selu
from selfnorm.experiments._claims import CLAIM_NAMES, claims
from selfnorm.experiments._cost import COST_ARMS, cost
from selfnorm.experiments._data import Dataset, load_data
from selfnorm.experiments._depth import DEPTH_ARMS, depth
from selfnorm.experiments._faults import faults
from selfnorm.experiments._fifty_layers import fifty_layers
from selfnorm.experiments._fixed_point import fixed_point
from selfnorm.experiments._generative import generative
from selfnorm.experiments._progress import ProgressCallback, ProgressEvent
from selfnorm.experiments._records import ExperimentResult
from selfnorm.experiments._recurrent import recurrent
from selfnorm.experiments._transformer import transformer
from selfnorm.experiments._uci import uci
from selfnorm.experiments._weight_decay import weight_decay

__all__ = [
    "ARMS",
    "BENCH_TASKS",
    "CLAIM_NAMES",
    "COST_ARMS",
    "DEPTH_ARMS",
    "IMAGE_ARMS",
    "BenchRow",
    "Dataset",
    "ExperimentResult",
    "ProgressCallback",
    "ProgressEvent",
    "autoencoder",
    "bench",
    "bn_vs_selu",
    "claims",
    "cost",
    "depth",
    "faults",
    "fifty_layers",
    "fixed_point",
    "generative",
    "load_data",
    "recurrent",
    "transformer",
    "uci",
    "weight_decay",
]
