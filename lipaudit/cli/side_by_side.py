"""`lipaudit compare`: check what costs nothing, audit and measure each model, write, tell how it ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import format_exception
from typing import Any

from lipaudit.cli import failures, inputs, interrupts, outputs, streams, values
from lipaudit.cli.auditing import audit_arguments, check_samples
from lipaudit.cli.candidates import Asked, asked_models
from lipaudit.cli.progress import meter
from lipaudit.cli.request import AuditRequest
from lipaudit.cli.screen import screen_width
from lipaudit.errors import ExitCode, UsageError
from lipaudit.report.comparison import FORMATS, SUFFIXES, Comparison, to_text
from lipaudit.report.comparison.words import ending, problems

__all__ = ["CompareRequest", "run"]

_KNOWN = outputs.Known(FORMATS, SUFFIXES)
_LARGEST_BATCH = 1 << 20  # `cost.work`, which needs torch, says the same
_OF_BUDGETS = ("max_lipschitz", "min_certified", "policy", "arch")
_CURIOUS = 2  # how often -v was given

Targets = Sequence[outputs.Target[Comparison]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """One `lipaudit compare` as it was typed.

    Args:
        models: in their order.
        arches: of `--arch`.
        trained: of `--train-arch`.
        batch: samples at a time where costs are measured.
        train_cost: whether a training step is measured.
        no_cost: nothing is measured.
        as_json: instead of tables.
        output: of `-o`.
        plot: of `--plot`.
        audit: what goes for each model; its own model, outputs and budgets are unused.
    """

    models: Sequence[str]
    arches: Sequence[str]
    trained: Sequence[str]
    batch: int
    train_cost: bool
    no_cost: bool
    as_json: bool
    output: Sequence[str]
    plot: Sequence[str]
    audit: AuditRequest


def run(request: CompareRequest) -> ExitCode:
    """Compare, write and print.

    Returns:
        The most serious exit code of the models.

    Raises:
        LipauditError: whatever keeps all of them from being compared.
    """
    models = asked_models(request.models, request.arches, request.trained)
    targets = _targets(request)
    values.at_least("--batch", request.batch, 1)
    if request.batch > _LARGEST_BATCH:
        raise UsageError(f"--batch {request.batch}: at most {_LARGEST_BATCH}")
    if request.no_cost and request.train_cost:
        raise UsageError("--train-cost and --no-cost contradict each other")
    if request.trained and not request.train_cost:
        raise UsageError("--train-arch has no effect without --train-cost", hint="add --train-cost")
    options = {k: v for k, v in audit_arguments(request.audit).items() if k not in _OF_BUDGETS}
    outputs.check_targets(targets, _kept(request, models))
    check_samples(request.audit, None, targets)
    comparison = _compared(request, models, options)
    code = ExitCode(comparison.exit_code)
    try:
        outputs.write_targets(targets, comparison, quiet=request.audit.quiet)
    except UsageError as error:
        if code is not ExitCode.INTERRUPTED:
            _show(request, targets, comparison, failures.describe(error).code)
            raise
        streams.say(f"error: {failures.shown(error.message)}")
    _show(request, targets, comparison)
    return code


def _targets(request: CompareRequest) -> Targets:
    asked = [*request.output, *outputs.plotted(request.plot)]
    return outputs.parse_targets([*asked, *(["json=-"] if request.as_json else [])], _KNOWN)


def _kept(request: CompareRequest, models: Sequence[Asked]) -> dict[Path, str]:
    """What is read, and must not be replaced."""
    kept: dict[Path, str] = {}
    for model in models:
        for arch in (model.arch, model.trained):
            kept |= inputs.read_by(replace(request.audit, model=model.path, arch=arch), None)
    return kept | {Path(model.path): "one of the models" for model in models}


def _compared(request: CompareRequest, models: Sequence[Asked], options: dict[str, Any]) -> Comparison:
    defects: list[BaseException] = []
    shown = meter(quiet=request.audit.quiet, colour=streams.colour_wanted(sys.stderr))
    with shown as progress, streams.libraries_on_stderr(verbose=request.audit.verbose >= _CURIOUS):
        progress.stage("loading torch", 0)
        with interrupts.loading():
            from lipaudit.comparison import Candidate, compare  # noqa: PLC0415 -- imports torch
        comparison = compare(
            [Candidate(model.name, model.path, model.arch, model.trained) for model in models],
            options,
            batch=None if request.no_cost else request.batch,
            train=request.train_cost,
            progress=progress,
            defect=defects.append,
        )
    for error in defects if request.audit.verbose else ():
        streams.say("".join(format_exception(error)).rstrip())
    return comparison


def _show(
    request: CompareRequest, targets: Targets, comparison: Comparison, failed: ExitCode | None = None
) -> None:
    """The tables, or their last line; stdout is left alone where a document was asked for there."""
    last = ending(comparison, failed)
    taken = any(target.path is None for target in targets)
    if taken or request.audit.quiet:  # else the tables tell it
        for row, why in problems(comparison):
            streams.say(failures.shown(f"{row.name} (exit {row.exit_code}): {why}"))
    if taken:
        if not request.audit.quiet:
            streams.say(last)
    elif request.audit.quiet:
        streams.write_screen(f"{last}\n")
    else:
        streams.write_screen(to_text(comparison, width=screen_width(), failed=failed))
