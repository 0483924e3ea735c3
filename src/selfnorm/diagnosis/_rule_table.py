"""Every fault that the diagnosis knows by name: code, usual severity, one sentence, source."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

__all__ = ["RULES", "SEVERITIES", "Rule", "Severity"]

Severity: TypeAlias = Literal["error", "warning", "note"]

# From the gravest on. An error breaks self-normalisation whatever the data; a warning breaks it
# in part, or under a condition that the message names; a note is worth knowing.
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")


class Rule(NamedTuple):
    """One fault that the diagnosis looks for.

    Parameters
    ----------
    code : str
        Its name in words, as "default-init"; stable, for use in scripts.
    severity : {"error", "warning", "note"}
        Usual severity. A finding may be milder or graver where its evidence is.
    sentence : str
        What is wrong, in general.
    source : str
        Paper, issue thread or page that describes it.

    Examples
    --------
    >>> from selfnorm.diagnosis import RULES
    >>> RULES["default-init"].severity
    'error'
    """

    code: str
    severity: Severity
    sentence: str
    source: str


_PAPER: Final = "Klambauer et al. 2017, arXiv:1706.02515"

# Sorted by importance: of two findings of one severity, the one that comes first here is told
# first, because mending it changes most.
_ALL: Final = (
    Rule(
        "not-finite",
        "error",
        "A weight, an input or an activation is infinite or not a number.",
        "IEEE 754",
    ),
    Rule(
        "default-init",
        "error",
        "PyTorch's default initialisation gives a unit's weights the sum of squares 1/3; "
        "SELU needs 1, and below its range the signal dies out with depth.",
        "github.com/keras-team/keras/issues/8776; github.com/bioinf-jku/SNNs/issues/5",
    ),
    Rule(
        "gain-three-quarters",
        "error",
        "calculate_gain('selu') is 3/4, which gives the sum of squares 9/16 instead of 1.",
        "github.com/pytorch/pytorch/issues/54055",
    ),
    Rule(
        "he-init",
        "error",
        "He initialisation gives the sum of squares 2, above the range in which SELU holds the "
        "variance of independent weights: it explodes with depth.",
        "He et al. 2015, arXiv:1502.01852",
    ),
    Rule(
        "truncated-init",
        "warning",
        "A normal distribution cut off at two standard deviations has only .774 of its variance.",
        _PAPER,
    ),
    Rule(
        "weight-scale",
        "error",
        "The sum of a unit's squared weights is not near 1.",
        _PAPER,
    ),
    Rule(
        "activation-constants",
        "error",
        "The constants of the activation have no fixed point where its neighbours assume one.",
        _PAPER,
    ),
    Rule(
        "layer-norm",
        "warning",
        "A LayerNorm, GroupNorm, InstanceNorm or RMSNorm stands beside SELU: it takes over what "
        "SELU is for, and undoes the mean and variance that dropout and weights rely on.",
        "github.com/bioinf-jku/SNNs/issues/8",
    ),
    Rule(
        "batch-norm",
        "warning",
        "A BatchNorm stands beside SELU: it takes over what SELU is for, at the price of noise "
        "from the batch and of running statistics.",
        "github.com/bioinf-jku/SNNs/issues/8",
    ),
    Rule(
        "plain-dropout",
        "error",
        "Ordinary dropout after SELU raises the variance in training, and drops to 0, which is "
        "not where SELU saturates.",
        _PAPER,
    ),
    Rule(
        "alpha-dropout-off",
        "error",
        "F.alpha_dropout(x, p) does nothing: its default is training=False.",
        "torch.nn.functional.alpha_dropout",
    ),
    Rule(
        "alpha-dropout-mismatch",
        "error",
        "Alpha dropout is set for another activation than the one before it.",
        _PAPER,
    ),
    Rule(
        "alpha-dropout-after-relu",
        "error",
        "Alpha dropout after an activation that is not SELU puts dropped units at a value which "
        "this activation never takes.",
        "github.com/bioinf-jku/SNNs/issues/10",
    ),
    Rule(
        "unscaled-residual",
        "error",
        "A plain sum x + f(x) adds the variances: it doubles with every block.",
        "Zhang, Dauphin, Ma 2019, arXiv:1901.09321",
    ),
    Rule(
        "in-place-low-precision",
        "error",
        "SELU in place rebuilds its slope from a rounded output: in bfloat16 the gradient is "
        "wrong by 31 % at x = -5.",
        "torch.nn.functional.selu_",
    ),
    Rule(
        "input-not-standardised",
        "error",
        "The input, or what a part without SELU feeds the first SELU layer, has not about mean 0 "
        "and variance 1.",
        _PAPER,
    ),
    Rule(
        "sparse-input",
        "warning",
        "Most input values are equal (sparse or one-hot): the first layer sums few terms, so "
        "that its pre-activations are far from normal and differ in variance from row to row.",
        "github.com/bioinf-jku/SNNs/issues/30",
    ),
    Rule(
        "zero-padding",
        "warning",
        "Zero padding feeds units at the border fewer terms: their variance shrinks with depth.",
        "github.com/keras-team/keras/issues/6990",
    ),
    Rule(
        "max-pooling",
        "warning",
        "Maximum pooling shifts the mean up and shrinks the variance.",
        "stats.stackexchange.com/q/529595",
    ),
    Rule(
        "average-pooling",
        "warning",
        "Average pooling shrinks the variance.",
        "stats.stackexchange.com/q/529595",
    ),
    Rule(
        "too-deep",
        "warning",
        "At variance 1 SELU multiplies squared gradients by 1.0716 per layer, which "
        "amounts to much over very many layers.",
        "Schoenholz et al. 2017, arXiv:1611.01232",
    ),
    Rule(
        "narrow-layers",
        "warning",
        "The mean and variance of a narrow layer fluctuate widely from one draw of the weights "
        "to the next.",
        _PAPER,
    ),
    Rule(
        "weight-decay-drift",
        "warning",
        "Weight decay or an L1 penalty pulls the sums of squared weights below the range in which "
        "SELU holds the variance.",
        "github.com/bioinf-jku/SNNs/issues/5",
    ),
    Rule(
        "variance-off",
        "error",
        "A layer's variance, measured, has left the range that one may call normalised.",
        _PAPER,
    ),
    Rule(
        "prediction-off",
        "note",
        "The moments of a layer are not those that theory predicts from its weights.",
        _PAPER,
    ),
    Rule(
        "saturated-units",
        "warning",
        "Many units sit at SELU's saturation value for nearly all inputs: they pass no gradient.",
        _PAPER,
    ),
    Rule(
        "dead-units",
        "warning",
        "Many units give the same output for all inputs.",
        _PAPER,
    ),
    Rule(
        "gradient-growth",
        "warning",
        "The gradient grows or shrinks with depth by much more than the layers' chi explains.",
        "Schoenholz et al. 2017, arXiv:1611.01232",
    ),
    Rule(
        "scale-with-depth",
        "error",
        "Variance or gradient changes systematically with the depth of the network.",
        "Schoenholz et al. 2017, arXiv:1611.01232",
    ),
    Rule(
        "scale-with-width",
        "error",
        "Variance or gradient changes systematically with the width of the network.",
        "Yang et al. 2022, arXiv:2203.03466",
    ),
    Rule(
        "could-not-run",
        "note",
        "The model could not be run, so that only its modules were looked at.",
        "selfnorm.check",
    ),
)

RULES: Final[dict[str, Rule]] = {rule.code: rule for rule in _ALL}
