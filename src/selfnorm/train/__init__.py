"""The training engine: plain self-normalizing networks, one or many side by side."""

from __future__ import annotations

from selfnorm.train._architecture import Architecture
from selfnorm.train._checkpoint import Checkpoint
from selfnorm.train._early_stopping import EarlyStopping
from selfnorm.train._losses import Binary, Huber, Pinball, Softmax, Squared
from selfnorm.train._optimizers import SGD, AdamW
from selfnorm.train._parquet import ParquetBatches
from selfnorm.train._records import EpochRecord, Result
from selfnorm.train._schedules import Constant, Cosine, Plateau
from selfnorm.train._spread import spread
from selfnorm.train._trainer import Trainer

__all__ = [
    "SGD",
    "AdamW",
    "Architecture",
    "Binary",
    "Checkpoint",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "EpochRecord",
    "Huber",
    "ParquetBatches",
    "Pinball",
    "Plateau",
    "Result",
    "Softmax",
    "Squared",
    "Trainer",
    "spread",
]
