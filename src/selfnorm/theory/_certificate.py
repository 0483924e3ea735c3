"""Certificates: claims about the moment map of SELU and ELU, proven by ball arithmetic.

What no certificate covers. The map is that of a Gaussian pre-activation whose inputs share one
mean and one variance: exact in the limit of wide layers. A layer of n units deviates from it by
O(1/n), and trained weights leave the box of weight statistics unless something holds them there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from selfnorm.errors import DomainError
from selfnorm.theory._box import Box, ExactNumber
from selfnorm.theory._certificate_balls import flint
from selfnorm.theory._certificate_claims import CLAIMS
from selfnorm.theory._certificate_inputs import BITS, constants_of, metric_of
from selfnorm.theory._certificate_part import certify_part
from selfnorm.theory._certificate_proof import Kind, Metric
from selfnorm.theory._certificate_result import Certificate, CertificatePart, Counterexample

if TYPE_CHECKING:
    from typing import Any

__all__ = ["certify"]


def certify(
    claim: str | Box,
    *,
    var: ExactNumber | None = None,
    alpha: ExactNumber | None = None,
    scale: ExactNumber | None = None,
    metric: str = "euclidean",
    mean_weight: float = 1.0,
    bound: float | None = None,
    max_boxes: int = 1_000_000,
    progress: Callable[[str, int, float], None] | None = None,
) -> Certificate:
    """Prove a claim about the moment map of a SELU or ELU, or find where it is false.

    The map g takes mean and variance of the inputs of a unit to those of its output. Claims:

    * ``"theorem1"``: g maps the paper's box into itself and contracts it, so that each
      (weight_sum, weight_sumsq) of the box has one attracting fixed point there;
    * ``"theorem2"``: large variances (3 to 16) shrink; ``"theorem3"``: small ones grow, both parts;
    * ``"lemma12"``: the contraction on the wider range 0.8 to 1.25 of weight_sumsq;
    * a ``Box``: both statements of Theorem 1, for that box.

    Parameters
    ----------
    claim : str or Box
        The claim.
    var : number, optional
        The SELU whose fixed point is (0, var), its constants being enclosed exactly; the standard
        SELU (var 1) if nothing is given. A string is meant exactly, a float is the double it is.
    alpha, scale : number, optional
        Constants of any other SELU; ``alpha`` alone is the ELU with that alpha.
    metric : {"euclidean", "log-variance"}, default="euclidean"
        ``d^2 = k^2 dmean^2 + dvar^2``, or ``k^2 dmean^2 + (d ln var)^2``, which suits large boxes.
        The named claims are about the Euclidean metric with k = 1.
    mean_weight : float, default=1.0
        The weight k.
    bound : float, optional
        What to prove: the largest spectral norm, in (0, 1); for Theorem 2 the largest change of
        the variance, below 0; for Theorem 3 the smallest, above 0. Chosen close to the true value
        if not given.
    max_boxes : int, default=1_000_000
        How many rectangles each part may examine; a thousand take some 0.05 s.
    progress : callable, optional
        ``progress(kind, boxes, proven_fraction)``, called every 64 rectangles.

    Returns
    -------
    Certificate
        Proven (``holds``), with contraction constant, image and leaves; or false, with a point of
        the box at which ball arithmetic confirms that it is false.

    Raises
    ------
    DomainError
        If an argument is outside its domain.
    CertificateError
        If the claim could be neither proven nor refuted with ``max_boxes`` rectangles.
    MissingDependencyError
        If python-flint is not installed.

    See Also
    --------
    certify_fixed_point : Finds the box by itself.
    check_certificate : Checks a stored certificate with other arithmetic.

    Notes
    -----
    Method: only y = mean * weight_sum and x = var * weight_sumsq enter, which leaves two
    dimensions; mean-value forms in 96-bit ball arithmetic over adaptively bisected rectangles; a
    search in doubles goes first and supplies the bounds. Deterministic. The four named claims take
    less than half a second together.

    For a box with means of one sign, abs(weight_sum) <= abs(y) / min abs(mean) is used; elsewhere
    the extreme weight_sum is assumed at each y, which may prove slightly more than was asked.

    Not covered: non-Gaussian pre-activations, inputs with different means or variances, the O(1/n)
    deviation of a layer of n units, weights outside the box.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-Normalizing Neural Networks", NeurIPS 2017
    (arXiv:1706.02515), Theorems 1 to 3 and Lemma 12.

    Examples
    --------
    >>> theorem = certify("theorem1")
    >>> theorem.holds, theorem.contraction
    (True, 0.89763)
    >>> certify("lemma12", bound=0.98).counterexample.statement
    'the spectral norm of the Jacobian is 0.989026271837, greater than 0.98'
    """
    start = time.perf_counter()
    flint_context = flint("certify()").ctx
    constants = constants_of(var, alpha, scale)
    measure = metric_of(metric, mean_weight)
    name, plan = _plan(claim, measure)
    _validate_bound(plan[0][0], bound)
    if isinstance(max_boxes, bool) or not isinstance(max_boxes, int) or max_boxes < 1:
        raise DomainError(
            f"max_boxes must be an int of at least 1, however: max_boxes={max_boxes!r}"
        )
    parts: list[CertificatePart] = []
    counterexample = None
    with flint_context.workprec(BITS):
        for kind, box in plan:
            own_bound = None if kind == "self_map" else bound
            part = certify_part(kind, box, constants, measure, own_bound, max_boxes, progress)
            if isinstance(part, Counterexample):
                counterexample = part
                break
            parts.append(part)
    return Certificate(
        claim=name,
        holds=counterexample is None,
        activation=constants.record,
        alpha=_enclosing(constants.alpha),
        scale=_enclosing(constants.scale),
        metric=measure,
        parts=tuple(parts) if counterexample is None else (),
        counterexample=counterexample,
        seconds=time.perf_counter() - start,
    )


def _plan(claim: str | Box, metric: Metric) -> tuple[str, tuple[tuple[Kind, Box], ...]]:
    if isinstance(claim, Box):
        return "box", (("contraction", claim), ("self_map", claim))
    if not isinstance(claim, str) or claim not in CLAIMS:
        raise DomainError(
            f"claim must be one of {sorted(CLAIMS)} or a Box, however: claim={claim!r}"
        )
    if metric != Metric("euclidean", 1.0):
        raise DomainError(
            f"{claim} is about the Euclidean metric, however: metric={metric.name!r}, "
            f"mean_weight={metric.mean_weight!r}; give a Box to certify in another metric"
        )
    return claim, CLAIMS[claim]


def _validate_bound(kind: Kind, bound: float | None) -> None:
    if bound is None:
        return
    low, high, text = {
        "contraction": (0.0, 1.0, "between 0 and 1"),
        "variance_shrinks": (-math.inf, 0.0, "below 0"),
        "variance_grows": (0.0, math.inf, "above 0"),
    }[kind]
    if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not low < bound < high:
        raise DomainError(f"bound of this claim must be a float {text}, however: bound={bound!r}")


def _enclosing(number: Any) -> tuple[float, float]:
    return (
        math.nextafter(float(number.lower()), -math.inf),
        math.nextafter(float(number.upper()), math.inf),
    )
