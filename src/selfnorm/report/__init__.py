"""Reports: one self-contained HTML file from plain records.

Parts of a page (:class:`Page`, :class:`Section`, :class:`Table`, :class:`Choice`) and pictures
(:func:`line_chart`, :func:`heatmap`, :func:`image_grid`, :func:`vector_field`). A page needs no
network, no script and no other file; it reads well at 400 and at 1280 pixels, in light and dark
and in print. Every text from outside is escaped.

Three pages are made here as well: that of the theory, :func:`theory_report`, that of a model
trained on a table, :func:`tabular_report`, and that of a network that was diagnosed,
:func:`diagnosis_report`. Drawing needs matplotlib
and jinja2 (``pip install 'selfnorm[report]'``), which load only when a picture or a page is made.
"""

from __future__ import annotations

from selfnorm.report._choice import Choice, Frame
from selfnorm.report._dependencies import require
from selfnorm.report._diagnosis_page import diagnosis_report
from selfnorm.report._figure import Figure
from selfnorm.report._heatmap import heatmap
from selfnorm.report._image_grid import image_grid
from selfnorm.report._line_chart import line_chart
from selfnorm.report._numbers import format_number
from selfnorm.report._page import Page, Section
from selfnorm.report._series import Panel, Series
from selfnorm.report._style import Style, palette
from selfnorm.report._table import Table
from selfnorm.report._tabular_page import tabular_report
from selfnorm.report._theory_page import theory_report
from selfnorm.report._theory_record import theory_record
from selfnorm.report._vector_field import Region, vector_field

__all__ = [
    "Choice",
    "Figure",
    "Frame",
    "Page",
    "Panel",
    "Region",
    "Section",
    "Series",
    "Style",
    "Table",
    "diagnosis_report",
    "format_number",
    "heatmap",
    "image_grid",
    "line_chart",
    "palette",
    "require",
    "tabular_report",
    "theory_record",
    "theory_report",
    "vector_field",
]
