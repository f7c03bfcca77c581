"""The options of `lipaudit attest` and `lipaudit keygen`."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Attestation", "Comparison", "Encrypt", "Key", "NewKey", "Output", "Repair", "Report", "Spectrum"]

Report = Annotated[str, typer.Argument(metavar="REPORT", help="A JSON report.")]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="PEM",
        help="The private key that signs: PKCS#8, Ed25519 or ECDSA P-256. The passphrase of an encrypted one "
        "is LIPAUDIT_KEY_PASSPHRASE, or asked for.",
    ),
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="OUT", help="Where the attestation goes; stdout if not said."),
]
NewKey = Annotated[str, typer.Argument(metavar="KEY.pem", help="Where the private key goes.")]
Encrypt = Annotated[
    bool,
    typer.Option(
        "--encrypt",
        help="Encrypt the private key with a passphrase: LIPAUDIT_KEY_PASSPHRASE, or asked for twice.",
    ),
]
Comparison = Annotated[
    bool, typer.Option("--comparison", help="Print that of the document that `compare --json` prints.")
]
Attestation = Annotated[
    bool, typer.Option("--attestation", help="Print that of the statement that `attest` signs.")
]
Spectrum = Annotated[
    bool, typer.Option("--spectrum", help="Print that of the document that `spectrum --json` prints.")
]
Repair = Annotated[
    bool, typer.Option("--repair", help="Print that of the document that `clip --json` prints.")
]
