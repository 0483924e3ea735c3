"""What ``certify`` returns: the certificate, its parts and its file format."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfnorm._files import write_atomically
from selfnorm.errors import CertificateError
from selfnorm.theory._box import Box
from selfnorm.theory._certificate_proof import Kind, Metric
from selfnorm.theory._certificate_search import Rectangle

__all__ = ["Certificate", "CertificatePart", "Counterexample"]

FORMAT = "selfnorm-certificate"
VERSION = 1


@dataclass(frozen=True)
class Counterexample:
    """A point of the box at which a claim is false, confirmed in ball arithmetic.

    Attributes
    ----------
    mean, var, weight_sum, weight_sumsq : float
        The point, exactly these doubles.
    statement : str
        What is false there, with the value found.
    """

    mean: float
    var: float
    weight_sum: float
    weight_sumsq: float
    statement: str


@dataclass(frozen=True)
class CertificatePart:
    """One inequality, and the leaves on each of which it was proven.

    Attributes
    ----------
    kind : {"contraction", "self_map", "variance_shrinks", "variance_grows"}
        What is bounded.
    box : Box
        Where it holds.
    bounds : tuple of float
        The largest spectral norm; the image (mean_lo, mean_hi, var_lo, var_hi); or the bound on
        the change of the variance (new minus old).
    leaves : tuple of Rectangle
        Rectangles of (y, x) = (mean * weight_sum, var * weight_sumsq) that cover the box.
    boxes : int
        How many rectangles were examined, leaves included.
    """

    kind: Kind
    box: Box
    bounds: tuple[float, ...]
    leaves: tuple[Rectangle, ...] = field(repr=False)
    boxes: int


@dataclass(frozen=True)
class Certificate:
    """The result of ``certify``: a proof that can be stored and checked, or a counter-example.

    Attributes
    ----------
    claim : str
        Name of the claim, or ``"box"``.
    holds : bool
        Whether it is proven. False comes with a ``counterexample``.
    activation : dict of str to str
        Exact constants as ratios: ``fixed_point_var``, or ``alpha`` and ``scale``.
    alpha, scale : tuple of float
        Doubles that enclose the constants.
    metric : Metric
        ``(name, mean_weight)`` of a contraction.
    parts : tuple of CertificatePart
        What was proven.
    counterexample : Counterexample or None
        Where the claim is false.
    seconds : float
        Time the proof took, in s; not stored and not compared.

    Notes
    -----
    Not covered: the moment map is that of a Gaussian pre-activation whose inputs share one mean and
    one variance; a layer of n units deviates from it by O(1/n).
    """

    claim: str
    holds: bool
    activation: dict[str, str]
    alpha: tuple[float, float]
    scale: tuple[float, float]
    metric: Metric
    parts: tuple[CertificatePart, ...]
    counterexample: Counterexample | None
    seconds: float = field(compare=False)

    def _bounds(self, kind: Kind) -> CertificatePart | None:
        return next((part for part in self.parts if part.kind == kind), None)

    @property
    def contraction(self) -> float | None:
        """K < 1 with d(g(u), g(v)) <= K d(u, v) on the box; None where none was claimed."""
        part = self._bounds("contraction")
        return part.bounds[0] if part else None

    @property
    def image(self) -> Box | None:
        """A box inside the claimed one that holds its image; None where none was claimed."""
        part = self._bounds("self_map")
        if part is None:
            return None
        mean_lo, mean_hi, var_lo, var_hi = part.bounds
        return Box(
            mean=(mean_lo, mean_hi),
            var=(var_lo, var_hi),
            weight_sum=part.box.weight_sum,
            weight_sumsq=part.box.weight_sumsq,
        )

    @property
    def boxes(self) -> int:
        """How many rectangles were examined."""
        return sum(part.boxes for part in self.parts)

    @property
    def leaves(self) -> int:
        """How many rectangles the proof consists of."""
        return sum(len(part.leaves) for part in self.parts)

    def banach_bound(self, layers: int) -> float:
        """Bound the distance to the fixed point after some layers, from any start in the box.

        ``d(g^n(u), u*) <= K^n d(u, u*) <= K^n diameter`` (Banach's fixed point theorem) in the
        metric of the certificate, for each pair of weight_sum and weight_sumsq in the box.

        Parameters
        ----------
        layers : int
            Number n of layers, at least 0.

        Returns
        -------
        float
            The bound, in units of the metric.

        Raises
        ------
        CertificateError
            If the certificate does not prove both a contraction and a self-map.

        Examples
        --------
        >>> from selfnorm.theory._certificate import certify
        >>> f"{certify('theorem1').banach_bound(100):.1e}"
        '1.5e-05'
        """
        if self.contraction is None or self.image is None:
            raise CertificateError(
                f"Banach's bound needs a contraction that maps its box into itself, however: the "
                f"certificate of {self.claim!r} proves {[part.kind for part in self.parts]}; "
                "certify 'theorem1' or a Box"
            )
        box = self.parts[0].box
        mean = self.metric.mean_weight * (box.mean[1] - box.mean[0])
        var = box.var[1] - box.var[0]
        if self.metric.name == "log-variance":
            var = math.log(box.var[1] / box.var[0])
        # A few ulps are lost in four operations; the factor pays for them.
        return float(math.hypot(mean, var) * self.contraction**layers * (1 + 1e-12))

    def to_json(self) -> str:
        """Return the certificate as JSON, each double in hexadecimal and hence exact.

        Returns
        -------
        str
            One JSON object; ``check_certificate`` reads it.

        Examples
        --------
        >>> from selfnorm.theory._certificate import certify
        >>> '"claim": "lemma12"' in certify("lemma12").to_json()
        True
        """
        record: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "claim": self.claim,
            "holds": self.holds,
            "activation": self.activation,
            "alpha": _hex(self.alpha),
            "scale": _hex(self.scale),
            "metric": {"name": self.metric.name, "mean_weight": self.metric.mean_weight.hex()},
            "contraction": None if self.contraction is None else self.contraction.hex(),
            "image": None if self.image is None else _box_record(self.image),
            "counterexample": None,
            "parts": [
                {
                    "kind": part.kind,
                    "box": _box_record(part.box),
                    "bounds": _hex(part.bounds),
                    "boxes": part.boxes,
                    "leaves": [_hex(leaf) for leaf in part.leaves],
                }
                for part in self.parts
            ],
        }
        if self.counterexample is not None:
            record["counterexample"] = {
                name: value if isinstance(value, str) else value.hex()
                for name, value in vars(self.counterexample).items()
            }
        return json.dumps(record, indent=None, separators=(",\n", ": ")) + "\n"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the certificate to a file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            The file to write.

        Returns
        -------
        pathlib.Path
            The path written.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        return write_atomically(path, self.to_json())


def _hex(values: tuple[float, ...]) -> list[str]:
    return [float(value).hex() for value in values]


def _box_record(box: Box) -> dict[str, list[str]]:
    return {
        "mean": _hex(box.mean),
        "var": _hex(box.var),
        "weight_sum": _hex(box.weight_sum),
        "weight_sumsq": _hex(box.weight_sumsq),
    }
