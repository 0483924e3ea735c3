"""Conversion of trained nets: batch norms folded, rows scaled to length 1."""

from __future__ import annotations

import math

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfnorm.diagnosis._convert_work import Work
from selfnorm.diagnosis._exchange import NORMS
from selfnorm.diagnosis._fold import equalise, fold_batch_norm, hidden_pairs, producer

__all__ = ["equalise_rows", "fold_norms"]


def fold_norms(work: Work, keep_function: bool) -> None:
    seen: set[int] = set()
    for part, node, norm in list(work.nodes()):
        path = part.full(node.target)
        if not isinstance(norm, NORMS) or id(norm) in seen or work.is_locked(path):
            continue
        seen.add(id(norm))
        what = type(norm).__name__
        source = producer(part, node)
        layer = None if source is None else part.called(source)
        reason = _reason_not_to_fold(work, norm, layer)
        if reason:
            work.refuse(path, what, *reason)
            continue
        assert isinstance(norm, _BatchNorm)
        assert layer is not None
        assert source is not None
        place = part.full(source.target)
        fold_batch_norm(layer, norm)
        work.replace(norm, nn.Identity())
        work.change(
            path,
            "normalisation",
            what,
            f"folded into {place}",
            "in evaluation mode it is an affine map of each unit, which the layer before can do",
            "function",
        )
        work.comments.setdefault(place, []).append(f"{path} folded in")
    for path, module in work.modules():
        if isinstance(module, NORMS) and id(module) not in seen:
            work.refuse(
                path,
                type(module).__name__,
                "what stands before it is not known, because the forward around it cannot be "
                "traced",
                "put layer and normalisation into an nn.Sequential",
            )


def _reason_not_to_fold(
    work: Work, norm: nn.Module, layer: nn.Module | None
) -> tuple[str, str] | None:
    if not isinstance(norm, _BatchNorm):
        return (
            "its statistics are those of each row, in evaluation too, so that no weights can "
            "replace it",
            "leave it, or draw the weights anew with weights='new'",
        )
    if norm.running_mean is None or norm.running_var is None:
        return (
            "it keeps no running statistics, so that its map depends on each batch",
            "build it with track_running_stats=True and train it again",
        )
    if work.shared(norm) or (layer is not None and work.shared(layer)):
        return (
            "it or the layer before it is used in several places, which one set of weights cannot "
            "serve",
            "give each place its own modules",
        )
    if layer is None:
        return (
            "no linear or convolution layer stands directly before it, that feeds nothing else",
            "draw the weights anew with weights='new'",
        )
    units = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    if units != norm.num_features:
        return (
            f"it normalises {norm.num_features} features, the layer before has {units} units",
            "leave it",
        )
    return None


def equalise_rows(work: Work, exact_only: bool) -> None:
    for part in work.regions:
        for pair in hidden_pairs(part):
            if work.is_locked(pair.first) or work.is_locked(pair.second):
                continue
            if exact_only and not pair.exact:
                continue
            first, second = (work.model.get_submodule(path) for path in (pair.first, pair.second))
            if work.shared(first) or work.shared(second):
                continue
            factor = equalise(first, second)
            if factor < 1.0 + 1e-6:
                continue
            work.change(
                pair.first,
                "weights",
                "rows of other lengths"
                + ("" if math.isnan(factor) else f", up to a factor of {factor:.3g}"),
                f"rows of length 1, the columns of {pair.second} scaled back",
                "SELU holds the variance 1 where the squares of a unit's weights sum to 1",
                "function" if pair.exact else "moments",
                comment="rows scaled to length 1",
            )
            work.comments.setdefault(pair.second, []).append("columns scaled back")
