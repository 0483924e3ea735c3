"""Grids of small grey images, a named row of them per source."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfnorm.errors import DomainError
from selfnorm.report._figure import Figure, Layout, new_drawing
from selfnorm.report._style import Ink
from selfnorm.report._text import checked_text, text_width, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

__all__ = ["image_grid"]

# Levels of ink between paper and text colour; more would not be told apart at this size.
_LEVELS: Final = 7
_IMAGE_WIDTH: Final = 64.0
_GAP: Final = 0.12  # of an image's width, between two images

Images = NDArray[np.float64]


def image_grid(images: ArrayLike, labels: Sequence[str], *, alt: str) -> Figure:
    """Draw rows of small images as ink on paper, without a raster file.

    Parameters
    ----------
    images : array of float, shape (rows, columns, height, width)
        Ink from 0 (paper) to 1 (the colour of the text); what lies outside is cut, NaN is paper.
    labels : sequence of str
        One per row.
    alt : str
        What the picture shows, for those who do not see it.

    Returns
    -------
    Figure
        To be put into a :class:`Section` or saved.

    Raises
    ------
    DomainError
        If the images are not of that shape, or the labels do not match them.

    Notes
    -----
    Seven levels of ink; equal neighbours in a line of pixels are drawn as one, so that an image of
    8×8 pixels takes some two kilobytes.

    Examples
    --------
    >>> figure = image_grid([[[[0.0, 1.0], [0.5, 0.0]]]], ["one"], alt="A pattern.")
    >>> figure.html.count("<svg")
    2
    """
    try:
        stack = np.array(images, dtype=np.float64)
    except (TypeError, ValueError):
        raise DomainError(
            "images must be an array of numbers of shape (rows, columns, height, width), however: "
            "they are of unequal shapes or not numbers"
        ) from None
    if stack.ndim != 4 or stack.size == 0:
        raise DomainError(
            "images must have shape (rows, columns, height, width), none of them 0, however: "
            f"shape {stack.shape}"
        )
    names = tuple(checked_text("label", label) for label in labels)
    if len(names) != len(stack):
        raise DomainError(
            f"images of {len(stack)} rows need as many labels, however: {len(names)} labels"
        )
    levels = np.rint(np.clip(np.nan_to_num(stack), 0.0, 1.0) * _LEVELS)
    return Figure(checked_text("alt", alt), partial(_draw, levels, names))


def _draw(levels: Images, labels: tuple[str, ...], layout: Layout, ink: Ink) -> Drawing:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    rows, columns, height, width = levels.shape
    texts = [wrapped(label, 100 if layout.narrow else 200, layout.font) for label in labels]
    side = 16 + max(text_width(line, layout.font) for text in texts for line in text.split("\n"))
    size = min(_IMAGE_WIDTH, (layout.width - side) / (columns * (1 + _GAP)))
    tall = size * height / width
    total = side + columns * size * (1 + _GAP)
    drawing = new_drawing(total, rows * tall * (1 + _GAP) + 16)
    axes = drawing.subplots()
    unit = size / width  # of the page, per pixel of an image
    for level in range(1, _LEVELS + 1):
        corners = []
        for row, column in np.ndindex(rows, columns):
            left, top = column * size * (1 + _GAP), row * tall * (1 + _GAP)
            for y, x, end in _runs(levels[row, column] == level):
                x0, x1 = left + x * unit, left + end * unit
                y0, y1 = top + y * unit, top + (y + 1) * unit
                corners.append([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])
        if corners:
            path = Path(
                np.array(corners).reshape(-1, 2),
                [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY] * len(corners),
            )
            axes.add_patch(PathPatch(path, facecolor=ink.text, alpha=level / _LEVELS, linewidth=0))
    axes.set_xlim(0, columns * size * (1 + _GAP))
    axes.set_ylim(rows * tall * (1 + _GAP), 0)
    axes.spines[:].set_visible(False)
    axes.patch.set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([(row * (1 + _GAP) + 0.5) * tall for row in range(rows)], texts)
    axes.tick_params(length=0, labelsize=layout.font, labelcolor=ink.text, pad=5)
    return drawing


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return line, first and one past the last pixel of each horizontal run."""
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(padded, axis=1)
    lines, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return [
        (int(line), int(start), int(end))
        for line, start, end in zip(lines, starts, ends, strict=True)
    ]
