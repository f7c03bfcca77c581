"""`lipaudit clip`: check what costs nothing, repair the model, write it once its bound is proved."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipaudit.cli import inputs, interrupts, outputs, streams, values
from lipaudit.cli.auditing import audit_arguments, check_samples
from lipaudit.cli.places import check_apart
from lipaudit.cli.progress import meter
from lipaudit.cli.request import AuditRequest
from lipaudit.cli.screen import screen_width
from lipaudit.errors import ExitCode, UsageError
from lipaudit.load.factory import exits_refused
from lipaudit.report.exact import double_below, read_exact
from lipaudit.report.repair import FileFormat, Repair, to_json
from lipaudit.report.repair_text import ending, to_text

if TYPE_CHECKING:
    from lipaudit.repair.model_repair import Repaired

__all__ = ["ClipRequest", "run"]

_FORMATS: dict[str, FileFormat] = {".onnx": "onnx", ".safetensors": "safetensors"}
_NAMED = re.compile(r"([A-Za-z]+)=(.*)", re.DOTALL)
_HOW = ("fastclip", "rescaling", "spectral-rescaling", "fft")
_BIASES = ("fit", "keep")
_OF_BUDGETS = ("max_lipschitz", "min_certified", "policy")
_CURIOUS = 2  # how often -v was given


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRequest:
    """One `lipaudit clip` as it was typed.

    Args:
        lipschitz, layer_norm: the limit, one of them.
        how: the method's name.
        biases: whether they are fitted to the smaller weights.
        layers: patterns.
        output: where the model goes.
        force: whether files there may be replaced.
        as_json: instead of tables.
        audit: what goes for the audits before and after; its outputs and budgets are unused.
    """

    lipschitz: str | None
    layer_norm: str | None
    how: str
    biases: str
    layers: Sequence[str]
    output: Sequence[str]
    force: bool
    as_json: bool
    audit: AuditRequest


def run(request: ClipRequest) -> ExitCode:
    """Clip, prove, write, tell.

    Raises:
        LipauditError: whatever keeps the model from being repaired; nothing is written then.
    """
    limits = {"--lipschitz": request.lipschitz, "--layer-norm": request.layer_norm}
    for flag, text in limits.items():
        _check_limit(flag, text)
    if sum(text is not None for text in limits.values()) != 1:
        raise UsageError(
            "a bound for the network or one for every layer is needed, and not both",
            hint="--lipschitz C, or --layer-norm C",
        )
    if request.how not in _HOW:
        raise UsageError(f"--how {request.how!r} is unknown", hint=f"choose one of {', '.join(_HOW)}")
    if request.biases not in _BIASES:
        raise UsageError(
            f"--biases {request.biases!r} is unknown", hint=f"choose one of {', '.join(_BIASES)}"
        )
    targets = _targets(request)
    values.existing_file(request.audit.model)
    options = {k: v for k, v in audit_arguments(request.audit).items() if k not in _OF_BUDGETS}
    if not request.audit.eps:
        del options["eps"]  # those of a repair, not those of an audit
    kept = inputs.read_by(request.audit, None)
    for path in targets.values():
        outputs.check_new(path, kept, force=request.force)
    check_samples(request.audit, None, ())
    done = _repaired(request, tuple(targets), options)
    named = tuple(file.model_copy(update={"name": targets[file.format].name}) for file in done.repair.files)
    outputs.write_models(
        {targets[kind]: data for kind, data in done.files.items()}, kept, force=request.force
    )
    _tell(request, done.repair.model_copy(update={"files": named}), tuple(targets.values()))
    return ExitCode.PASS


def _check_limit(flag: str, text: str | None) -> None:
    """What `Wish` would refuse as well, seconds later."""
    if text is None:
        return
    try:
        positive = double_below(read_exact(text.strip())) > 0
    except ValueError as error:
        raise UsageError(f"{flag}: {error}", hint=f"a positive number, e.g. {flag} 10") from error
    if not positive:
        raise UsageError(f"{flag} {text}: must be above 0", hint=f"e.g. {flag} 10")


def _targets(request: ClipRequest) -> dict[FileFormat, Path]:
    """One place per format.

    Raises:
        UsageError: none, two of one format or to one place, or a suffix that tells none.
    """
    if not request.output:
        raise UsageError("where does the clipped model go?", hint="-o clipped.onnx or -o clipped.safetensors")
    found: dict[FileFormat, Path] = {}
    for text in request.output:
        kind, path = _target(text)
        if kind in found:
            raise UsageError(f"-o {text}: {found[kind]} is {kind} already", hint="one file per format")
        found[kind] = path
    check_apart(found.values())
    if "onnx" in found and request.audit.arch is not None:
        from importlib.util import find_spec  # noqa: PLC0415 -- rarely needed

        if find_spec("onnxscript") is None:
            raise UsageError(
                f"-o {found['onnx']}: writing ONNX from weights needs onnxscript, which is not installed",
                hint="pip install onnxscript, or write safetensors: -o clipped.safetensors",
            )
    return found


def _target(text: str) -> tuple[FileFormat, Path]:
    """`clipped.onnx`, or `onnx=PATH` for a name that tells no format."""
    formats, named = tuple(_FORMATS.values()), _NAMED.fullmatch(text)
    if named is None:
        kind = _FORMATS.get(Path(text).suffix.lower())
        if kind is None:
            raise UsageError(
                f"-o {text}: the name does not tell a format",
                hint=f"suffixes: {', '.join(_FORMATS)}; or FORMAT=PATH with {' or '.join(formats)}",
            )
        return kind, Path(text)
    name, place = named.groups()
    kind = next((known for known in formats if known == name), None)
    if kind is None:
        raise UsageError(f"-o {text}: no format is called {name!r}", hint=f"formats: {', '.join(formats)}")
    if place in ("", "-"):
        raise UsageError(f"-o {text}: a path is needed", hint=f"e.g. -o {name}=clipped.{name}")
    return kind, Path(place)


def _repaired(request: ClipRequest, formats: Sequence[FileFormat], options: dict[str, Any]) -> Repaired:
    audit = request.audit
    shown = meter(quiet=audit.quiet, colour=streams.colour_wanted(sys.stderr))
    with shown as progress, streams.libraries_on_stderr(verbose=audit.verbose >= _CURIOUS):
        progress.stage("loading torch", 0)
        with interrupts.loading():
            from lipaudit.repair.model_repair import repair_model  # noqa: PLC0415 -- imports torch
            from lipaudit.repair.wish import Wish  # noqa: PLC0415 -- imports torch
        wish = Wish(
            lipschitz=request.lipschitz,
            layer_norm=request.layer_norm,
            how=request.how,
            biases=request.biases,
            layers=tuple(request.layers),
        )
        with exits_refused(audit.arch):
            return repair_model(audit.model, wish, formats, progress=progress, **options)


def _tell(request: ClipRequest, repair: Repair, written: Sequence[Path]) -> None:
    """Where the files are, then the screen or the record: the end is the last line, also in a log."""
    quiet = request.audit.quiet
    for path in () if quiet else written:
        streams.say(f"wrote {os.fspath(path)}")
    if request.as_json:
        streams.write_data(to_json(repair))
    else:
        width = screen_width()
        streams.write_screen(f"{ending(repair)}\n" if quiet else to_text(repair, width=width))
    if request.as_json and not quiet:
        streams.say(ending(repair))
