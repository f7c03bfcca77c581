"""The options of `lipaudit verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from lipaudit.cli.numbers import whole

__all__ = ["AsJson", "Key", "Model", "Policy", "Recheck", "Report", "Samples", "Seed"]

Report = Annotated[str, typer.Argument(metavar="REPORT", help="The JSON report, or an attestation of one.")]
Model = Annotated[
    str, typer.Option("--model", "-m", metavar="MODEL", help="The model that it speaks of. Required.")
]
Key = Annotated[
    str | None,
    typer.Option("--key", metavar="PUB.pem", help="An attestation's signer: their public key."),
]
Samples = Annotated[
    str,
    typer.Option(
        "--dataset", "-d", metavar="D", help="The data set that it speaks of, to compare its fingerprint."
    ),
]
Recheck = Annotated[
    int | None,
    typer.Option(
        "--recheck", parser=whole, metavar="N", help="Evaluate N drawn samples again; needs --dataset."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", parser=whole, metavar="N", help="Seed of that draw; by default a new one, which is told."
    ),
]
Policy = Annotated[
    str | None,
    typer.Option("--policy", metavar="FILE", help="The policy file that the report was judged by."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON document instead of text.")]
