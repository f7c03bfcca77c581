"""`lipaudit verify REPORT --model MODEL`: read the report, prove it again, tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lipaudit.cli import streams, values
from lipaudit.cli.progress import meter
from lipaudit.errors import ExitCode, InputRefused, InputUnavailable, UsageError
from lipaudit.load.admit import check_terms
from lipaudit.load.factory import parse_arch
from lipaudit.report import AuditReport
from lipaudit.report.canonical import from_json

__all__ = ["VerifyRequest", "run"]

LARGEST = 2**28
"""Bytes of a report: one of a thousand layers and a hundred thousand samples has 20 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """One `lipaudit verify` as it was typed."""

    report: str
    model: str = ""
    dataset: str = "none"
    recheck: int | None = None
    seed: int = 0
    arch: str | None = None
    allow_global: Sequence[str] = ()
    trust_pickle: str | None = None
    data_dir: str | None = None
    offline: bool = False
    policy: str | None = None
    memory: str = "2GiB"
    quiet: bool = False
    as_json: bool = False


def run(request: VerifyRequest) -> ExitCode:
    """Verify and print.

    Returns:
        0 if what can be proved again was, 3 if some of it could not be, 4 if something claimed is not so.

    Raises:
        LipauditError: whatever keeps the report from being checked.
    """
    if not request.model:
        raise UsageError(
            "--model is missing: a report is proved from the model it speaks of",
            hint="lipaudit verify report.json --model model.onnx",
        )
    values.at_least("--recheck", request.recheck, 1)
    values.at_least("--seed", request.seed, 0)
    memory = values.memory("--memory", request.memory)
    check_terms(tuple(request.allow_global), request.trust_pickle)
    if request.arch is not None:
        parse_arch(request.arch)
    report = read_report(request.report)
    values.existing_file(request.model)
    with meter(quiet=request.quiet) as progress, streams.libraries_on_stderr(verbose=False):
        progress.stage("loading torch", 0)
        from lipaudit.attest.text import to_json, to_text  # noqa: PLC0415
        from lipaudit.attest.verify import verify  # noqa: PLC0415 -- imports torch

        try:
            found = verify(
                report,
                request.model,
                arch=request.arch,
                allow_global=tuple(request.allow_global),
                trust_pickle=request.trust_pickle,
                dataset=request.dataset,
                data_dir=request.data_dir,
                offline=request.offline,
                samples=request.recheck,
                seed=request.seed,
                policy=request.policy,
                memory=memory,
                stage=progress.stage,
                advance=progress.advance,
            )
        except SystemExit as error:
            if request.arch is None:
                raise
            raise InputRefused(
                f"--arch {request.arch}: the file ended the program (exit code {error.code!r})",
                hint="it should only define the network; put scripts under `if __name__ == '__main__':`",
            ) from error
    text = (to_json if request.as_json else to_text)(Path(request.report).name, report, found)
    streams.write_data(text.splitlines()[-1] + "\n" if request.quiet and not request.as_json else text)
    return found.exit_code


def read_report(path: str) -> AuditReport:
    """A report from its file.

    Raises:
        InputUnavailable: if it cannot be read.
        InputRefused: if it is none, or its evidence was changed.
    """
    values.existing_file(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise InputUnavailable(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > LARGEST:
        raise InputRefused(f"{path} is too large for a report: more than {LARGEST >> 20} MiB")
    try:
        return from_json(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputRefused(
            f"{path} is no lipaudit report: it is not UTF-8", hint="reports are JSON"
        ) from error
