"""`lipaudit spectrum`: check what costs nothing, find the values, write, tell how it ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipaudit.cli import failures, inputs, interrupts, outputs, streams, values
from lipaudit.cli.auditing import audit_arguments
from lipaudit.cli.progress import meter
from lipaudit.cli.request import AuditRequest
from lipaudit.cli.screen import screen_width
from lipaudit.errors import ExitCode, UsageError
from lipaudit.load.factory import exits_refused
from lipaudit.report.spectrum import FORMATS, SUFFIXES, Spectrum, to_text
from lipaudit.report.spectrum.record import Interrupted
from lipaudit.report.spectrum.words import ending

__all__ = ["SpectrumRequest", "run"]

_KNOWN = outputs.Known(FORMATS, SUFFIXES)
_SHARED = (
    "arch",
    "allow_global",
    "trust_pickle",
    "input_shape",
    "logits",
    "mean",
    "std",
    "scale",
    "layout",
    "threat_space",
    "profile",
    "memory",
    "device",
)
"""Options that mean what they mean for an audit."""
_CURIOUS = 2  # how often -v was given

Targets = Sequence[outputs.Target[Spectrum]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectrumRequest:
    """One `lipaudit spectrum` as it was typed.

    Args:
        top: values per layer.
        layers: of `--layer`.
        everything: of `--all`.
        as_json: instead of the table.
        output: of `-o`.
        plot: of `--plot`.
        audit: model and loading; its data, outputs and budgets are unused.
    """

    top: int
    layers: Sequence[str]
    everything: bool
    as_json: bool
    output: Sequence[str]
    plot: Sequence[str]
    audit: AuditRequest


def run(request: SpectrumRequest) -> ExitCode:
    """Find, write and print.

    Raises:
        LipauditError: whatever keeps it from being done.
    """
    asked = [*request.output, *outputs.plotted(request.plot)]
    targets = outputs.parse_targets([*asked, *(["json=-"] if request.as_json else [])], _KNOWN)
    options = {k: v for k, v in audit_arguments(request.audit).items() if k in _SHARED}
    values.existing_file(request.audit.model)
    outputs.check_targets(targets, inputs.read_by(request.audit, None))
    spectrum = _found(request, options)
    try:
        outputs.write_targets(targets, spectrum, quiet=request.audit.quiet)
    except UsageError as error:
        _show(request, targets, spectrum, failures.describe(error).code)
        raise
    _show(request, targets, spectrum)
    return ExitCode(spectrum.exit_code)


def _found(request: SpectrumRequest, options: dict[str, Any]) -> Spectrum:
    shown = meter(quiet=request.audit.quiet, colour=streams.colour_wanted(sys.stderr))
    with shown as progress, streams.libraries_on_stderr(verbose=request.audit.verbose >= _CURIOUS):
        progress.stage("loading torch", 0)
        with interrupts.loading():
            from lipaudit.spectrum import find_spectrum  # noqa: PLC0415 -- imports torch
        own: dict[str, Any] = {"top": request.top, "layers": request.layers, "everything": request.everything}
        try:
            with exits_refused(request.audit.arch):
                return find_spectrum(Path(request.audit.model), progress=progress, **own, **options)
        except Interrupted as stop:
            return stop.spectrum


def _show(
    request: SpectrumRequest, targets: Targets, spectrum: Spectrum, failed: ExitCode | None = None
) -> None:
    """The table, or its last line; stdout is left alone where a document was asked for there."""
    last = ending(spectrum, failed)
    if any(target.path is None for target in targets):
        if not request.audit.quiet:
            streams.say(last)
    elif request.audit.quiet:
        streams.write_screen(f"{last}\n")
    else:
        streams.write_screen(to_text(spectrum, width=screen_width(), failed=failed))
