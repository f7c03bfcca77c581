"""`lipaudit verify REPORT --model MODEL`: read the report, prove it again, tell.

Of an attestation the signature is checked first.  A plain report is refused where a key is given: else
whoever removes the envelope removes the question of who signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lipaudit.attest.envelope import is_envelope, opened
from lipaudit.cli import interrupts, streams, values
from lipaudit.cli.attesting import public_key
from lipaudit.cli.progress import meter
from lipaudit.cli.stored import checked, read_text
from lipaudit.errors import ExitCode, InputRefused, UsageError
from lipaudit.load.admit import check_terms
from lipaudit.load.factory import exits_refused, parse_arch
from lipaudit.report import AuditReport
from lipaudit.report.canonical import parsed

__all__ = ["VerifyRequest", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """One `lipaudit verify` as it was typed."""

    report: str
    model: str = ""
    key: str | None = None
    dataset: str = "none"
    recheck: int | None = None
    seed: int | None = None
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
    report, signed = _claims(request.report, request.key)
    values.existing_file(request.model)
    values.needs_data(request.dataset, {"--recheck": request.recheck, "--data-dir": request.data_dir})
    values.needs("--seed", request.seed, "--recheck", request.recheck, "--recheck N draws N samples with it")
    with meter(quiet=request.quiet) as progress, streams.libraries_on_stderr(verbose=False):
        progress.stage("loading torch", 0)
        with interrupts.loading():
            from lipaudit.attest.text import to_json, to_text  # noqa: PLC0415
            from lipaudit.attest.verify import verify  # noqa: PLC0415 -- imports torch
        with exits_refused(request.arch):
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
    found = replace(found, proved=(*signed, *found.proved))
    text = (to_json if request.as_json else to_text)(Path(request.report).name, report, found)
    streams.write_data(text.splitlines()[-1] + "\n" if request.quiet and not request.as_json else text)
    return found.exit_code


def _claims(place: str, key: str | None) -> tuple[AuditReport, tuple[str, ...]]:
    """The report, or what was attested; with what the signature says about it.

    Raises:
        UsageError: for an attestation without a key.
        InputUnavailable: if a file cannot be read.
        InputRefused: if it is none, it was changed, or the key's owner did not sign it.
    """
    text = read_text(place)
    document = parsed(text)
    if not is_envelope(document):
        if key is not None:
            raise InputRefused(
                f"{place} is a plain report: nobody signed it",
                hint="give the attestation that `lipaudit attest` wrote, or leave --key out",
            )
        return checked(text, place, document), ()
    if key is None:
        raise UsageError(
            f"{place} is an attestation: --key is missing",
            hint="--key SIGNER.pub.pem, from the signer, not from where the attestation came from",
        )
    public = public_key(key)
    predicate = opened(text, public).predicate
    line = (
        f"the signature: the owner of key {public.keyid} attested this evidence, by their clock at "
        f"{predicate.attested_at}"
    )
    return predicate.report(), (line,)
