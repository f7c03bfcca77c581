"""What the commands do: each loads its part of the program when it is run, since `--help` does without.

pydantic and rich take tenths of a second, torch takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lipaudit.cli.request import AuditRequest
from lipaudit.errors import ExitCode, UsageError

__all__ = [
    "print_schema",
    "run_attest",
    "run_audit",
    "run_baseline",
    "run_clip",
    "run_compare",
    "run_convert",
    "run_diff",
    "run_explain",
    "run_gate",
    "run_keygen",
    "run_policy",
    "run_report_diff",
    "run_spectrum",
    "run_verify",
]


def run_audit(request: AuditRequest) -> ExitCode:
    """`audit`."""
    from lipaudit.cli.auditing import run  # noqa: PLC0415

    return run(request)


def run_compare(own: dict[str, Any], audit: AuditRequest) -> ExitCode:
    """`compare`."""
    from lipaudit.cli.side_by_side import CompareRequest, run  # noqa: PLC0415

    return run(CompareRequest(audit=audit, **own))


def run_spectrum(own: dict[str, Any], audit: AuditRequest) -> ExitCode:
    """`spectrum`."""
    from lipaudit.cli.spectra import SpectrumRequest, run  # noqa: PLC0415

    return run(SpectrumRequest(audit=audit, **own))


def run_clip(own: dict[str, Any], audit: AuditRequest) -> ExitCode:
    """`clip`."""
    from lipaudit.cli.clipping import ClipRequest, run  # noqa: PLC0415

    return run(ClipRequest(audit=audit, **own))


def run_diff(given: dict[str, Any]) -> ExitCode:
    """`diff-model`."""
    from lipaudit.cli.diffing import DiffRequest, run  # noqa: PLC0415

    return run(DiffRequest(**given))


def run_convert(report: str, output: Sequence[str]) -> ExitCode:
    """`convert`."""
    from lipaudit.cli.converting import run  # noqa: PLC0415

    return run(report, output)


def run_attest(report: str, key: str | None, output: str | None) -> ExitCode:
    """`attest`."""
    from lipaudit.cli.attesting import attest  # noqa: PLC0415

    return attest(report, key, output)


def run_keygen(key: str, encrypt: bool) -> ExitCode:  # noqa: FBT001 -- a flag
    """`keygen`."""
    from lipaudit.cli.attesting import keygen  # noqa: PLC0415

    return keygen(key, encrypt=encrypt)


def run_gate(given: dict[str, Any]) -> ExitCode:
    """`gate`."""
    from lipaudit.cli.gating import GateRequest, run  # noqa: PLC0415

    return run(GateRequest(**given))


def run_report_diff(a: str, b: str, *, as_json: bool) -> ExitCode:
    """`diff`."""
    from lipaudit.cli.comparing import run  # noqa: PLC0415

    return run(a, b, as_json=as_json)


def run_policy(step: str, file: str | None) -> ExitCode:
    """`policy init` and `policy check`."""
    from lipaudit.cli.policies import check, init  # noqa: PLC0415

    return init(file) if step == "init" else check(file)


def run_baseline(given: dict[str, Any]) -> ExitCode:
    """`baseline update`."""
    from lipaudit.cli.baselines import BaselineRequest, run  # noqa: PLC0415

    return run(BaselineRequest(**given))


def run_explain(words: tuple[str, ...]) -> ExitCode:
    """`explain`."""
    from lipaudit.cli.explaining import run  # noqa: PLC0415

    return run(words)


def run_verify(given: dict[str, Any]) -> ExitCode:
    """`verify`."""
    from lipaudit.cli.verifying import VerifyRequest, run  # noqa: PLC0415

    return run(VerifyRequest(**given))


def print_schema(**asked: bool) -> ExitCode:
    """`schema`."""
    from lipaudit.attest.statement import statement_schema  # noqa: PLC0415
    from lipaudit.cli.streams import write_data  # noqa: PLC0415
    from lipaudit.report import repair  # noqa: PLC0415
    from lipaudit.report.canonical import shipped_schema  # noqa: PLC0415
    from lipaudit.report.comparison import document as comparison  # noqa: PLC0415
    from lipaudit.report.spectrum import document as spectrum  # noqa: PLC0415

    schemas = {
        "attestation": statement_schema,
        "comparison": comparison.shipped_schema,
        "spectrum": spectrum.shipped_schema,
        "repair": repair.shipped_schema,
    }
    meant = [name for name, wanted in asked.items() if wanted]
    if len(meant) > 1:
        flags = " and ".join(f"--{name}" for name in meant)
        raise UsageError(f"{flags}: which of them?", hint="each is a schema by itself")
    write_data(schemas[meant[0]]() if meant else shipped_schema())
    return ExitCode.PASS
