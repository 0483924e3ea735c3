"""Several pictures in one place, of which the reader chooses one: no script, one style rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from selfnorm.errors import DomainError
from selfnorm.report._figure import Figure, Key
from selfnorm.report._text import checked_text

__all__ = ["Choice", "Frame"]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a :class:`Choice`.

    Parameters
    ----------
    label : str
        What the reader chooses it by; short.
    figure : Figure
        The picture.
    see : str
        One sentence under the picture that says what to see in it.

    Raises
    ------
    DomainError
        If a text is blank or ``figure`` is not a Figure.

    Examples
    --------
    >>> from selfnorm.report import Panel, Series, line_chart
    >>> loss = Panel("Loss", "epoch", "nats", [Series("std-selu", [1, 2], [2.3, 0.7])])
    >>> Frame("50 layers", line_chart([loss], alt="The loss falls."), see="It falls.").label
    '50 layers'
    """

    label: str
    figure: Figure
    see: str = field(kw_only=True)

    def __post_init__(self) -> None:
        for name in ("label", "see"):
            object.__setattr__(self, name, checked_text(name, getattr(self, name)))
        if not isinstance(self.figure, Figure):
            raise DomainError(
                f"frame {self.label!r}: figure must be a Figure, however: figure={self.figure!r}"
            )


@dataclass(frozen=True, eq=False)
class Choice:
    """Pictures of one kind, of which a page shows the one that its reader chooses.

    The reader picks a label from a row of buttons by mouse, touch or the arrow keys; print shows
    the picture picked. A browser without style sheets shows all, each under its label.

    Parameters
    ----------
    title : str
        What the labels are values of.
    frames : sequence of Frame
        At least two, with distinct labels.
    chosen : str, optional
        Label of the frame that shows first; by default the first one.

    Raises
    ------
    DomainError
        If there are fewer than two frames, a label comes twice, or ``chosen`` is none of them.

    Examples
    --------
    >>> from selfnorm.report import Panel, Series, line_chart
    >>> frames = [
    ...     Frame(f"{depth} layers", line_chart([Panel("Loss", "epoch", "nats", [loss])],
    ...           alt="The loss falls."), see="It falls.")
    ...     for depth in (8, 50) for loss in [Series("std-selu", [1, 2], [2.3, 0.7])]
    ... ]
    >>> Choice("Depth", frames, chosen="50 layers").to_html("s0-").count("<input")
    2
    """

    title: str
    frames: Sequence[Frame]
    chosen: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", checked_text("title", self.title))
        owner = f"choice {self.title!r}"
        object.__setattr__(self, "frames", tuple(self.frames))
        for frame in self.frames:
            if not isinstance(frame, Frame):
                raise DomainError(f"{owner}: frames must be Frames, however: {frame!r}")
        labels = [frame.label for frame in self.frames]
        if len(labels) < 2:
            raise DomainError(
                f"{owner} needs at least two frames, however: {len(labels)}; "
                "give a section its only figure itself"
            )
        for label in labels:
            if labels.count(label) > 1:
                raise DomainError(f"{owner}: label {label!r} comes twice; rename one frame")
        if self.chosen is None:
            object.__setattr__(self, "chosen", labels[0])
        elif self.chosen not in labels:
            raise DomainError(
                f"{owner}: chosen must be one of {', '.join(map(repr, labels))}, "
                f"however: chosen={self.chosen!r}"
            )

    @property
    def legend(self) -> tuple[Key, ...]:
        """The entries of all legends, frame by frame."""
        return tuple(key for frame in self.frames for key in frame.figure.legend)

    def to_html(self, prefix: str) -> str:
        """Return the row of buttons and the pictures as HTML.

        Parameters
        ----------
        prefix : str
            Begins all identifiers, as for :meth:`Figure.to_html`.

        Returns
        -------
        str
            One fieldset. Which picture shows is for the style sheet of :class:`Page` to say.
        """
        parts = []
        for number, frame in enumerate(self.frames):
            own = f"{prefix}f{number}-"
            checked = " checked" if frame.label == self.chosen else ""
            parts.append(
                f'<input type="radio" name="{prefix}choice" id="{own}on"{checked}>'
                f'<label for="{own}on">{escape(frame.label)}</label>\n'
                f'<div class="frame">\n{frame.figure.to_html(own)}\n'
                f"<p>{escape(frame.see)}</p></div>"
            )
        body = "\n".join(parts)
        return (
            f'<fieldset class="choice"><legend>{escape(self.title)}</legend>\n'
            f'<div class="options">\n{body}\n</div></fieldset>'
        )
