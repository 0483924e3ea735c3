"""The page: sections put into one HTML file that needs nothing else."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfnorm._files import write_atomically
from selfnorm.errors import DomainError
from selfnorm.report._choice import Choice
from selfnorm.report._dependencies import require
from selfnorm.report._figure import Figure
from selfnorm.report._style import CSS_THEME
from selfnorm.report._table import Table
from selfnorm.report._text import checked_text, plain

__all__ = ["Page", "Section"]


@dataclass(frozen=True, eq=False)
class Section:
    """A titled part of a page.

    Parameters
    ----------
    title : str
        Heading.
    paragraphs : sequence of str, default ()
        Text before the picture; plain, no markup.
    figure : Figure or Choice, optional
        The picture, or several of which the reader sees one at a time.
    table : Table, optional
        The table, after the picture.
    see : str
        One sentence under the picture or table that says what to see in it.

    Raises
    ------
    DomainError
        If a text is blank or not a str, or figure or table are of another type.

    Examples
    --------
    >>> Section("Result", table=Table(["arm"], [["std-selu"]]), see="One arm ran.").title
    'Result'
    """

    title: str
    paragraphs: Sequence[str] = ()
    figure: Figure | Choice | None = field(default=None, kw_only=True)
    table: Table | None = field(default=None, kw_only=True)
    see: str = field(kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", checked_text("title", self.title))
        object.__setattr__(self, "see", checked_text("see", self.see))
        object.__setattr__(self, "paragraphs", _paragraphs(self.paragraphs))
        for name, kinds in (("figure", (Figure, Choice)), ("table", (Table,))):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kinds):
                raise DomainError(
                    f"section {self.title!r}: {name} must be a "
                    f"{' or '.join(kind.__name__ for kind in kinds)}, however: {name}={value!r}"
                )


@dataclass(frozen=True, eq=False)
class Page:
    """A report in one file.

    Parameters
    ----------
    title : str
        Heading of the page and title of the document.
    summary : str
        What was done, in a sentence or two.
    sections : sequence of Section
        At least one.
    verdict : str, optional
        The answer, set off from the text.
    environment : mapping of str to object, optional
        What the result depends on (versions, device, seed), listed at the end by ``str``.
    command : str, optional
        The command that makes this report again.

    Raises
    ------
    DomainError
        If there is no section, or a text is blank or not a str.

    Examples
    --------
    >>> section = Section("Result", table=Table(["arm"], [["std-selu"]]), see="One arm ran.")
    >>> Page("Fifty layers", "Seven arms.", [section]).html().startswith("<!doctype html>")
    True
    """

    title: str
    summary: str
    sections: Sequence[Section]
    verdict: str | None = field(default=None, kw_only=True)
    environment: Mapping[str, object] | None = field(default=None, kw_only=True)
    command: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("title", "summary", "verdict", "command"):
            if getattr(self, name) is not None or name in ("title", "summary"):
                object.__setattr__(self, name, checked_text(name, getattr(self, name)))
        object.__setattr__(self, "sections", tuple(self.sections))
        if not self.sections:
            raise DomainError("sections is empty; give at least one Section")

    def html(self) -> str:
        """Return the page as HTML.

        Returns
        -------
        str
            A whole document; the same input gives the same text.

        Raises
        ------
        MissingDependencyError
            If matplotlib or jinja2 is not installed.
        """
        require()
        import jinja2

        source = importlib.resources.files("selfnorm.report").joinpath("template.html")
        template = jinja2.Environment(
            autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        ).from_string(source.read_text(encoding="utf-8"))
        environment = {
            plain(str(key)): "–" if value is None else plain(str(value))
            for key, value in (self.environment or {}).items()
        }
        figures = {
            number: section.figure.to_html(f"s{number}-")
            for number, section in enumerate(self.sections)
            if section.figure is not None
        }
        return template.render(page=self, environment=environment, figures=figures, theme=CSS_THEME)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, whole or not at all.

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
        OSError
            If the file cannot be written.
        MissingDependencyError
            If matplotlib or jinja2 is not installed.
        """
        return write_atomically(path, self.html())


def _paragraphs(texts: Sequence[str]) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise DomainError(f"paragraphs must be a sequence of str, however: paragraphs={texts!r}")
    return tuple(checked_text("paragraph", text) for text in texts)
