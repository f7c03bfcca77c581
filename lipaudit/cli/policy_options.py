"""The options of the commands about policies and reports."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "AllowIncrease",
    "AsJson",
    "NewReport",
    "NoPolicy",
    "OldReport",
    "PolicyFile",
    "PolicyName",
    "Rejudged",
    "Report",
    "ReportQuiet",
]

_REJUDGED = "Write the report as judged anew: report.json or FORMAT=PATH; json=- is stdout. Repeatable."

Report = Annotated[str, typer.Argument(metavar="REPORT")]
OldReport = Annotated[str, typer.Argument(metavar="A")]
NewReport = Annotated[str, typer.Argument(metavar="B")]
PolicyName = Annotated[str | None, typer.Argument(metavar="[FILE]")]
PolicyFile = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        hidden=True,
        help="Budgets and waivers of this file, in place of the closest lipaudit.toml.",
    ),
]
NoPolicy = Annotated[
    bool, typer.Option("--no-policy", hidden=True, help="Take no policy file; budgets are flags only.")
]
Rejudged = Annotated[list[str] | None, typer.Option("--output", "-o", metavar="OUT", help=_REJUDGED)]
ReportQuiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the verdict.")]
AllowIncrease = Annotated[
    bool, typer.Option("--allow-increase", help="Replace a baseline also by one that allows more.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON document instead of text.")]
