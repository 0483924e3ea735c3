"""What is refused as the number of a class or a token."""

from __future__ import annotations

from torch import Tensor

from selfnorm.errors import DataError

__all__ = ["check_codes", "check_range"]


def check_codes(codes: object, name: str = "codes") -> None:
    if not isinstance(codes, Tensor) or codes.is_floating_point() or codes.is_complex():
        kind = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
        raise DataError(
            f"{name} must be a tensor of whole numbers, however: {name} is {kind}; convert it with "
            f"{name}.long(), missing ones to -1"
        )


def check_range(codes: Tensor, size: int, column: int | None, unknown: str) -> None:
    if not codes.numel():
        return
    low, high = (int(value) for value in codes.aminmax())
    least = -1 if unknown == "mean" else 0
    if low >= least and high < size:
        return
    where = "tokens" if column is None else f"codes of column {column}"
    remedy = "give a larger number of classes"
    if low < least:
        remedy = (
            "unknown='mean' takes -1" if column is not None and low == -1 else "check the codes"
        )
    raise DataError(
        f"{where} must be between {least} and {size - 1}, however: they run from {low} to {high}; "
        f"{remedy}"
    )
