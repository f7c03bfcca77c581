"""The options of `lipaudit compare`, beside those it shares with an audit."""

from __future__ import annotations

from typing import Annotated

import typer

from lipaudit.cli.numbers import whole

__all__ = [
    "Arches",
    "AsJson",
    "Batch",
    "Models",
    "NoCost",
    "Output",
    "Plot",
    "Quiet",
    "TrainArches",
    "TrainCost",
    "Verbose",
]

Models = Annotated[
    list[str], typer.Argument(metavar="MODEL…", help="Files as for an audit, or NAME=FILE to name a row.")
]
Arches = Annotated[
    list[str] | None,
    typer.Option(
        "--arch",
        metavar="[MODEL=]SOURCE:NAME",
        help="Who builds the network of files of weights: one for all, or repeated, one per model in their "
        "order or by their names. {dir} is the model's folder.",
    ),
]
Batch = Annotated[
    int,
    typer.Option(
        "--batch",
        parser=whole,
        metavar="N",
        help="Samples at a time where time and memory are measured (256); fewer where they do not fit.",
    ),
]
TrainCost = Annotated[
    bool,
    typer.Option(
        "--train-cost",
        help="Also measure a training step (forward, margin loss, backward, optimiser) of models that have "
        "an --arch or --train-arch.",
    ),
]
TrainArches = Annotated[
    list[str] | None,
    typer.Option(
        "--train-arch",
        metavar="[MODEL=]SOURCE:NAME",
        help="Who builds the module that was trained, for --train-cost, where the file holds another one: as "
        "--arch.",
    ),
]
NoCost = Annotated[
    bool, typer.Option("--no-cost", help="Measure neither time nor memory: only what is proved.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON document instead of tables.")]
Output = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="Also write the comparison: table.csv, table.md or FORMAT=PATH (text, json, md, csv, svg); "
        "json=- is stdout. Repeatable.",
    ),
]
Plot = Annotated[
    list[str] | None,
    typer.Option(
        "--plot", metavar="PATH", help="Draw all curves of certified accuracy in one picture, as -o svg=PATH."
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only the last line on stdout, no progress on stderr.")
]
Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, metavar="", help="Tracebacks. -vv: libraries' logs, too."),
]
