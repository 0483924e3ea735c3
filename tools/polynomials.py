"""Derive the polynomials of csrc/polynomials.h: ``python tools/polynomials.py`` writes the file.

The kernels take exp and expm1 from exp(r) = 1 + r + r² q(r) on |r| <= log(2)/2, where q is close to
the polynomial of least greatest error (Chebyshev interpolation in 60 digits, rounded once).
"""

from __future__ import annotations

from pathlib import Path

import mpmath

HEADER = Path(__file__).resolve().parent.parent / "csrc" / "polynomials.h"

# Enough terms that |r q error| stays below an eighth of a unit in the last place.
TERMS = {"float": 6, "double": 11}


def q(r: mpmath.mpf) -> mpmath.mpf:
    """Return (exp(r) - 1 - r) / r² from its series."""
    return mpmath.nsum(lambda k: r**k / mpmath.factorial(k + 2), [0, mpmath.inf])


def coefficients(terms: int) -> tuple[list[mpmath.mpf], mpmath.mpf]:
    """Return the coefficients, highest power first, and the greatest error."""
    with mpmath.workdps(60):
        half = mpmath.log(2) / 2 * mpmath.mpf("1.0001")
        found, error = mpmath.chebyfit(q, [-half, half], terms, error=True)
        return list(found), error


def header() -> str:
    """Return the text of the header."""
    lines = ["// Written by tools/polynomials.py; do not edit.", "#pragma once", ""]
    for kind, terms in TERMS.items():
        found, error = coefficients(terms)
        digits, suffix = (9, "f") if kind == "float" else (17, "")
        lines.append(f"// q(r), highest power first; error at most {mpmath.nstr(error, 2)}")
        lines.append(f"#define SELFNORM_Q_{kind.upper()}(STEP) \\")
        steps = [f"  STEP({mpmath.nstr(c, digits)}{suffix})" for c in found]
        lines += [" \\\n".join(steps), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    HEADER.write_text(header(), encoding="utf-8")
