"""Theory of self-normalizing networks in float64: moments, fixed points, constants, gradients.

NumPy and SciPy only. Numbers in give floats or frozen dataclasses out; arrays broadcast.
"""

from __future__ import annotations

from selfnorm.theory._activation_type import Activation
from selfnorm.theory._activations import activation, activation_names
from selfnorm.theory._bidirectional import Bidirectional, bidirectional
from selfnorm.theory._box import Box
from selfnorm.theory._certificate import certify
from selfnorm.theory._certificate_basin import certify_fixed_point
from selfnorm.theory._certificate_result import Certificate, CertificatePart, Counterexample
from selfnorm.theory._checker import CheckResult, check_certificate
from selfnorm.theory._correlation import DepthScale, correlation_map, depth_scale
from selfnorm.theory._depth import DepthMatch, match_depth
from selfnorm.theory._digits import SELUDigits, solve_digits
from selfnorm.theory._dropout import Affine, alpha_dropout_affine
from selfnorm.theory._edge_of_chaos import EdgeOfChaos, edge_of_chaos
from selfnorm.theory._fixed_point import FixedPoint, fixed_point
from selfnorm.theory._gradients import gradient_gain
from selfnorm.theory._isometry import JacobianSpread, jacobian_spread
from selfnorm.theory._maximum import maximum_moments
from selfnorm.theory._moments import Moments, moment_jacobian, moment_map, moments
from selfnorm.theory._neutral_dropout import gradient_neutral_dropout
from selfnorm.theory._predict import Layer, Trajectory, predict
from selfnorm.theory._solve import SELUConstants, solve
from selfnorm.theory._standardize import Standardized, standardize
from selfnorm.theory._tailor import Tailored, tailor
from selfnorm.theory._weight_range import WeightScaleRange, weight_scale_range

__all__ = [
    "Activation",
    "Affine",
    "Bidirectional",
    "Box",
    "Certificate",
    "CertificatePart",
    "CheckResult",
    "Counterexample",
    "DepthMatch",
    "DepthScale",
    "EdgeOfChaos",
    "FixedPoint",
    "JacobianSpread",
    "Layer",
    "Moments",
    "SELUConstants",
    "SELUDigits",
    "Standardized",
    "Tailored",
    "Trajectory",
    "WeightScaleRange",
    "activation",
    "activation_names",
    "alpha_dropout_affine",
    "bidirectional",
    "certify",
    "certify_fixed_point",
    "check_certificate",
    "correlation_map",
    "depth_scale",
    "edge_of_chaos",
    "fixed_point",
    "gradient_gain",
    "gradient_neutral_dropout",
    "jacobian_spread",
    "match_depth",
    "maximum_moments",
    "moment_jacobian",
    "moment_map",
    "moments",
    "predict",
    "solve",
    "solve_digits",
    "standardize",
    "tailor",
    "weight_scale_range",
]
