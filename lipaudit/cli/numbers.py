"""Numbers that the parser reads: its own message about a wrong one does not show it."""

from __future__ import annotations

import typer

__all__ = ["real", "whole"]


def whole(text: str | int) -> int:
    """A whole number; defaults come as numbers.

    Raises:
        typer.BadParameter: if it is none.
    """
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no whole number") from error


def real(text: str | float) -> float:
    """A number such as 1e-4.

    Raises:
        typer.BadParameter: if it is none.
    """
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no number") from error
