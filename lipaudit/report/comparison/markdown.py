"""Markdown: the two tables, and below them what a reader must know."""

from __future__ import annotations

from collections.abc import Sequence

from lipaudit.report.comparison import words
from lipaudit.report.comparison.columns import Column, measured_columns, proved_columns
from lipaudit.report.comparison.record import Comparison
from lipaudit.report.markdown_escape import code, line, prose

__all__ = ["to_markdown"]


def to_markdown(comparison: Comparison) -> str:
    """The whole document; paragraphs and tables are separated by one empty line."""
    problems = [f"{row.name} (exit {row.exit_code}): {why}" for row, why in words.problems(comparison)]
    parts = [
        "## lipaudit: models compared",
        f"**{words.ending(comparison)}**",
        line(words.data_line(comparison)),
        "### Proved",
        _table(proved_columns(comparison), comparison),
        "### Measured",
        *map(line, words.measured_lines(comparison)),
        line(words.machine_line(comparison)),
        _table(measured_columns(comparison), comparison),
        *_listed("Notes", list(words.notes(comparison))),
        *_listed("Incomplete", problems),
    ]
    return "\n\n".join(parts) + "\n"


def _listed(title: str, texts: Sequence[str]) -> list[str]:
    return [f"### {title}", "\n".join(f"- {line(text)}" for text in texts)] if texts else []


def _table(columns: Sequence[Column], comparison: Comparison) -> str:
    rows = [
        " | ".join([code(row.name), *(column.cell(row) for column in columns)]) for row in comparison.models
    ]
    head = " | ".join(["model", *(prose(column.title) for column in columns)])
    rule = "|".join(["---", *("---:" for _ in columns)])
    return "\n".join([f"| {head} |", f"|{rule}|", *(f"| {row} |" for row in rows)])
