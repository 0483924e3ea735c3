"""What a diagnosis says: findings, moments by layer, the whole."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from selfnorm.diagnosis._rule_table import RULES, SEVERITIES, Severity
from selfnorm.diagnosis._text import as_markdown, as_text, one_line
from selfnorm.errors import DomainError

__all__ = ["Diagnosis", "Finding", "LayerMoments", "finding", "sorted_findings"]

_ORDER = {code: rank for rank, code in enumerate(RULES)}


@dataclass(frozen=True, eq=True)
class Finding:
    """One fault: what is wrong, where, by which numbers, and the line that mends it.

    Attributes
    ----------
    code : str
        Name of the fault; one of :data:`selfnorm.diagnosis.RULES`.
    severity : {"error", "warning", "note"}
        Error: self-normalisation breaks whatever the data. Warning: in part, or under a condition.
    place : str
        Module path as in ``model.named_modules()``; "" is the model itself, several are joined
        with ", ".
    message : str
        What was found, in a sentence with numbers.
    evidence : mapping of str to float, int or str
        The numbers.
    fix : str
        What to write: a line of code where one line does it.
    """

    code: str
    severity: Severity
    place: str
    message: str
    evidence: Mapping[str, float | int | str] = field(default_factory=dict, hash=False)
    fix: str = ""

    def __post_init__(self) -> None:
        if self.code not in RULES:
            raise DomainError(
                f"code must be one of selfnorm.diagnosis.RULES, however: code={self.code!r}; "
                "add the fault to the table first"
            )
        if self.severity not in SEVERITIES:
            raise DomainError(
                f"severity must be one of {SEVERITIES}, however: severity={self.severity!r}; "
                "take that of RULES[code]"
            )
        object.__setattr__(self, "evidence", MappingProxyType(dict(self.evidence)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the arguments: a mapping proxy cannot be pickled."""
        values = (self.code, self.severity, self.place, self.message, dict(self.evidence), self.fix)
        return type(self), values

    def __str__(self) -> str:
        """Return one line: severity, place, message, code, fix."""
        place = one_line(self.place) or "(model)"
        text = f"{self.severity}: {place}: {one_line(self.message)} [{self.code}]"
        return f"{text} fix: {one_line(self.fix)}" if self.fix else text

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain data.

        Returns
        -------
        dict
            The fields; numbers that are not finite are None.
        """
        return {
            "code": self.code,
            "severity": self.severity,
            "place": self.place,
            "message": self.message,
            "evidence": plain(self.evidence),
            "fix": self.fix,
        }

    def to_json(self) -> str:
        """Return the finding as JSON.

        Returns
        -------
        str
            One JSON object.
        """
        return json.dumps(self.to_dict(), allow_nan=False)


@dataclass(frozen=True)
class LayerMoments:
    """One activation of the network: what was measured there, and what theory predicts.

    Moments are pooled over rows and units of the activation's output, before any dropout.

    Attributes
    ----------
    place : str
        Module path of the activation, or of the module that calls it as a function; a second call
        of one module has "#2" at its end.
    kind : str
        The activation, as "selu" or "relu".
    layer : str
        Module path of the linear or convolution layer before it; "" if there is none.
    units : int
        Number of units (features or channels).
    fan_in : int
        Number of terms of a unit's sum; 0 if there is no layer before.
    rows : int
        How many numbers of one unit were pooled.
    mean, var : float
        Measured mean and variance.
    predicted_mean, predicted_var : float or None
        What theory predicts from the weights and from the moments that arrived at the layer.
    predicted_mean_path, predicted_var_path : float or None
        What theory predicts from the weights and the moments of the network's input alone, through
        dropout, sums, concatenation, pools and normalisation; behind what it does not know
        (attention, recurrent parts, products of branches, embeddings) it starts anew from what was
        measured there.
    var_low, var_high : float or None
        Band of the prediction at this width: two standard errors on each side.
    preactivation_mean, preactivation_var : float
        Measured before the activation.
    weight_sum : float or None
        Mean over the units of the sum of a unit's weights.
    weight_sum_sd : float or None
        Standard deviation of the same over the units.
    weight_sumsq, weight_sumsq_low, weight_sumsq_high : float or None
        Mean, 5 % and 95 % quantile over the units of the sum of a unit's squared weights.
    dead_share : float
        Share of units whose output is one and the same for all rows.
    saturated_share : float
        Share of outputs within 1 % of the saturation value; 0 for activations without one.
    gradient : float or None
        Root mean square of the gradient with respect to the pre-activations.
    gradient_gain : float or None
        Factor by which this activation and the layer before multiply the mean squared gradient on
        its way back to the activation before.
    predicted_gradient_gain : float or None
        The same by theory: chi at the measured pre-activation moments times the sum of squares.
    correlation : float or None
        Mean correlation of the activations of two different rows.
    domain_distance : float or None
        Distance of the measured moments and weights from the certified domain of Theorem 1, as the
        largest excess over a side, in units of the side's half length; 0 inside.
    target_mean, target_var : float or None
        Fixed point that the activation keeps with centred weights of sum of squares 1.
    unit_mean, unit_var : tuple of float or None
        Mean and variance of each unit over the rows, when asked for.
    ok : bool
        Whether mean and variance are within the tolerance of the target.
    """

    place: str
    kind: str
    layer: str
    units: int
    fan_in: int
    rows: int
    mean: float
    var: float
    preactivation_mean: float
    preactivation_var: float
    predicted_mean: float | None = None
    predicted_var: float | None = None
    predicted_mean_path: float | None = None
    predicted_var_path: float | None = None
    var_low: float | None = None
    var_high: float | None = None
    weight_sum: float | None = None
    weight_sum_sd: float | None = None
    weight_sumsq: float | None = None
    weight_sumsq_low: float | None = None
    weight_sumsq_high: float | None = None
    dead_share: float = 0.0
    saturated_share: float = 0.0
    gradient: float | None = None
    gradient_gain: float | None = None
    predicted_gradient_gain: float | None = None
    correlation: float | None = None
    domain_distance: float | None = None
    target_mean: float | None = None
    target_var: float | None = None
    unit_mean: tuple[float, ...] | None = None
    unit_var: tuple[float, ...] | None = None
    ok: bool = True


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on a network: findings, and moments layer by layer.

    Attributes
    ----------
    model : str
        Name of the model's class.
    findings : tuple of Finding
        What is wrong, the most decisive first.
    layers : tuple of LayerMoments
        The activations, in the order in which they ran.
    rows : int
        Number of rows of data that went through.
    input_mean, input_var : float
        Moments of the input, pooled over rows and features.
    tolerance : float
        Factor by which a variance may differ from its target, up and down.
    structure : tuple of str
        The network's operations in the order in which they ran, one line each.
    """

    model: str
    findings: tuple[Finding, ...]
    layers: tuple[LayerMoments, ...]
    rows: int
    input_mean: float
    input_var: float
    tolerance: float
    structure: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return all(one.severity == "note" for one in self.findings)

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        worst = [one for one in self.findings if one.severity != "note"]
        if worst:
            more = f", and {len(worst) - 1} more" if len(worst) > 1 else ""
            return f"Not healthy: {worst[0].code} at {worst[0].place or 'the model'}{more}."
        if not self.rows:
            return f"No fault found in {len(self.structure)} operations."
        if not self.layers:
            return "No fault found; no activation ran."
        low, high = (f(one.var for one in self.layers) for f in (min, max))
        seen = f"{len(self.layers)} activations with variances from {low:.3g} to {high:.3g}."
        if all(one.target_var is None for one in self.layers):
            return f"No fault found, and no SELU: {seen}"
        return f"Healthy: {seen}"

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnosis as plain data.

        Returns
        -------
        dict
            The fields, with ``healthy`` and ``verdict``; numbers that are not finite are None.
        """
        record = {
            "model": self.model,
            "healthy": self.healthy,
            "verdict": self.verdict,
            "rows": self.rows,
            "input_mean": self.input_mean,
            "input_var": self.input_var,
            "tolerance": self.tolerance,
            "findings": [one.to_dict() for one in self.findings],
            "layers": [asdict(one) for one in self.layers],
            "structure": list(self.structure),
        }
        result = plain(record)
        assert isinstance(result, dict)
        return result

    def to_json(self) -> str:
        """Return the diagnosis as JSON.

        Returns
        -------
        str
            One JSON object.
        """
        return json.dumps(self.to_dict(), allow_nan=False)

    def to_text(self) -> str:
        """Return the diagnosis as text for a terminal.

        Returns
        -------
        str
            Verdict, findings with their fixes, a table of the layers.
        """
        return as_text(self)

    def to_markdown(self) -> str:
        """Return the diagnosis as Markdown, for a pull request.

        Returns
        -------
        str
            Verdict, findings with their fixes, a table of the layers; names are escaped.
        """
        return as_markdown(self)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the diagnosis as one self-contained HTML file.

        Parameters
        ----------
        path : str or path-like
            The file; missing folders are made.

        Returns
        -------
        pathlib.Path
            The file written.

        Raises
        ------
        MissingDependencyError
            If matplotlib or jinja2 is not installed.
        OSError
            If the file cannot be written.
        """
        from selfnorm.report import diagnosis_report

        return diagnosis_report(path, self.to_dict())

    def __str__(self) -> str:
        """Return what :meth:`to_text` does."""
        return self.to_text()


def finding(
    code: str,
    place: str,
    message: str,
    fix: str,
    *,
    severity: Severity | None = None,
    **evidence: float | int | str,
) -> Finding:
    """Make a finding of the table's severity, unless another is given."""
    return Finding(code, severity or RULES[code].severity, place, message, evidence, fix)


def sorted_findings(found: Iterable[Finding]) -> list[Finding]:
    """Order findings: the gravest first, then as in the table, then as they came."""
    return sorted(found, key=lambda one: (SEVERITIES.index(one.severity), _ORDER[one.code]))


def plain(value: Any) -> Any:
    """Turn a value into what JSON can hold: a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
