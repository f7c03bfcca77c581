"""`lipaudit audit`: check everything that costs nothing, audit, write, tell the verdict.

Usage is checked before torch is imported (seconds) and before the first layer is bounded (minutes).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lipaudit.cli import failures, github, inputs, interrupts, outputs, streams, values
from lipaudit.cli.judging import policy_meant
from lipaudit.cli.progress import meter
from lipaudit.cli.request import AuditRequest
from lipaudit.cli.screen import screen_width
from lipaudit.errors import ExitCode, UsageError
from lipaudit.load.admit import check_terms
from lipaudit.load.factory import exits_refused, parse_arch
from lipaudit.moment import moment
from lipaudit.policy import DEFAULT_EPS, Policy, parse_budgets, parse_eps
from lipaudit.report import AuditReport, to_text
from lipaudit.report.interruption import Interrupted
from lipaudit.report.text import verdict_line
from lipaudit.report.tried import tried_lines
from lipaudit.report.wording import plural

__all__ = ["audit_arguments", "check_samples", "run"]

_LAYOUTS = ("chw", "hwc", "flat")
_SPACES = ("pixel", "input")
_PROFILES = ("fast", "balanced", "tight")
_INFORMED, _CURIOUS = 1, 2  # how often -v was given

Targets = Sequence[outputs.Target[AuditReport]]


def run(request: AuditRequest) -> ExitCode:
    """Audit and report.

    Returns:
        The exit code of the verdict.

    Raises:
        LipauditError: whatever keeps the audit from being done.
    """
    targets = _targets(request)
    streams.check_colour(request.color)
    arguments = audit_arguments(request)
    outputs.check_targets(targets, inputs.read_by(request, arguments["policy"]))
    values.existing_file(request.model)
    policy = arguments["policy"]
    check_samples(request, policy, targets)
    if policy is not None and not policy.budgets:
        streams.say(f"warning: {policy.file.path} holds no budget: it asks for nothing")
    report = _audit(request, arguments)
    files = [Path(request.model), *([] if policy is None else [policy.file.path])]
    try:
        _tell(request, targets, report, files)
    except UsageError as error:  # a report that could not be written
        if ExitCode(report.exit_code) is not ExitCode.INTERRUPTED:
            raise
        streams.say(f"error: {failures.shown(error.message)}")
    return ExitCode(report.exit_code)


def _targets(request: AuditRequest) -> Targets:
    """Where reports go; a plot of certified accuracy is one of them.

    Raises:
        UsageError: for what cannot be meant; a plot in a file that is not called one.
    """
    asked = [*request.output, *outputs.plotted(request.plot)]
    return outputs.parse_targets(asked, outputs.REPORTS)


def check_samples(
    request: AuditRequest, policy: Policy | None, targets: Sequence[outputs.Target[Any]]
) -> None:
    """What asks about samples needs some; told after the model was looked for, whose name may be the mistake.

    Raises:
        UsageError: if there is no data set.
    """
    if request.dataset == "none" and any(target.format.name == "svg" for target in targets):
        raise UsageError(
            "a plot of certified accuracy needs a data set", hint="add --dataset mnist or npz:FILE"
        )
    parse_budgets(min_certified=request.min_certified, dataset=request.dataset)
    if policy is not None:
        policy.check_data(request.dataset)
    values.needs_data(
        request.dataset,
        {
            "--eps": request.eps,
            "--limit": request.limit,
            "--seed": request.seed,
            "--data-dir": request.data_dir,
        },
    )
    values.needs("--seed", request.seed, "--limit", request.limit, "--limit N draws N samples with it")


def audit_arguments(request: AuditRequest) -> dict[str, Any]:
    """The keyword arguments of `pipeline.audit`, all checked.

    Raises:
        UsageError: one cannot be meant.
    """
    values.at_least("--limit", request.limit, 1)
    values.at_least("--seed", request.seed, 0)
    if request.layout not in (None, *_LAYOUTS):
        raise UsageError(f"--layout {request.layout!r} is unknown", hint=", ".join(_LAYOUTS))
    if request.threat_space not in _SPACES:
        raise UsageError(f"--threat-space {request.threat_space!r} is unknown", hint=", ".join(_SPACES))
    if request.profile not in _PROFILES:
        raise UsageError(f"--profile {request.profile!r} is unknown", hint=", ".join(_PROFILES))
    check_terms(tuple(request.allow_global), request.trust_pickle)
    if request.arch is not None:
        parse_arch(request.arch)
    scale = values.fractions("--scale", request.scale, nonzero=True)
    if scale is not None and len(scale) > 1:
        raise UsageError(f"--scale {request.scale}: one number for all channels")
    eps = values.pieces(request.eps) or DEFAULT_EPS
    for radius in eps:
        parse_eps(radius)
    return {
        "dataset": request.dataset,
        "data_dir": None if request.data_dir is None else Path(request.data_dir),
        "offline": request.offline,
        "resize": values.sides("--resize", request.resize),
        "crop": values.sides("--crop", request.crop),
        "arch": request.arch,
        "allow_global": tuple(request.allow_global),
        "trust_pickle": request.trust_pickle,
        "input_shape": values.shape("--input-shape", request.input_shape),
        "logits": request.logits,
        "mean": values.fractions("--mean", request.mean),
        "std": values.fractions("--std", request.std, nonzero=True),
        "scale": scale[0] if scale else None,
        "layout": request.layout,
        "threat_space": request.threat_space,
        "limit": request.limit,
        "seed": request.seed,
        "eps": eps,
        "max_lipschitz": request.max_lipschitz,
        "min_certified": tuple(request.min_certified),
        "method": tuple(request.method) or "auto",
        "profile": request.profile,
        "memory": values.memory("--memory", request.memory),
        "device": values.device(request.device),
        "attack": not request.no_attack,
        "policy": _policy(request),  # the last: its file may be missing, which is less than a wrong option
    }


def _policy(request: AuditRequest) -> Policy | None:
    """The file's budgets and waivers; those of flags are only checked here."""
    parse_budgets(max_lipschitz=request.max_lipschitz, min_certified=request.min_certified)
    policy = policy_meant(request.policy, ignored=request.no_policy)
    moment()  # what is wrong with SOURCE_DATE_EPOCH is told before the work
    return None if policy.file is None else policy


def _audit(request: AuditRequest, arguments: dict[str, Any]) -> AuditReport:
    shown = meter(quiet=request.quiet, colour=streams.colour_wanted(sys.stderr, request.color))
    with shown as progress, streams.libraries_on_stderr(verbose=request.verbose >= _CURIOUS):
        progress.stage("loading torch", 0)
        with interrupts.loading():
            from lipaudit.pipeline import audit  # noqa: PLC0415 -- imports torch
        try:
            with exits_refused(request.arch):
                return audit(request.model, progress=progress, **arguments)
        except Interrupted as stop:
            return stop.report


def _tell(
    request: AuditRequest,
    targets: Targets,
    report: AuditReport,
    files: Sequence[Path],
) -> None:
    """Reports first and the screen after them, so that the end is the last line, also in a log."""
    try:
        outputs.write_targets(targets, report, quiet=request.quiet)
    except Exception as error:
        # An interrupted audit ends with its own code, see `run`.
        kept = isinstance(error, UsageError) and ExitCode(report.exit_code) is ExitCode.INTERRUPTED
        _show(request, targets, report, files, None if kept else failures.describe(error).code)
        raise
    _show(request, targets, report, files)


def _show(
    request: AuditRequest,
    targets: Targets,
    report: AuditReport,
    files: Sequence[Path],
    failed: ExitCode | None = None,
) -> None:
    """What is said on the screen; stdout is left alone where a report was asked for there."""
    github.annotate(report, files)
    data = report.evidence.dataset
    if data is not None and request.limit is not None and request.limit > data.total and not request.quiet:
        streams.say(
            f"note: --limit {request.limit}: there are {plural(data.total, 'sample')}, so it limits nothing"
        )
    if request.quiet:
        for reason in _reasons(report):
            streams.say(reason)
    if request.verbose >= _INFORMED:
        for line in _times(report):
            streams.say(line)
    if not any(target.path is None for target in targets):
        streams.write_screen(_screen(request, report, failed))
    elif not request.quiet:
        colour = streams.colour_wanted(sys.stderr, request.color)
        streams.say(verdict_line(report, colour=colour, failed=failed))
    github.summarize(report, failed)


def _times(report: AuditReport) -> Iterator[str]:
    """Where the time went, and what it bought."""
    for stage, seconds in report.run.stages.items():
        yield f"{seconds:8.1f} s  {stage}"
    yield from tried_lines(report)


def _reasons(report: AuditReport) -> Iterator[str]:
    """Why a verdict is not green: with --quiet nothing else says it."""
    for finding in report.evidence.findings:
        if finding.level == "error":
            yield f"{finding.rule}: {finding.message}"
    for budget in report.evidence.budgets:
        if not budget.is_met:
            yield f"{budget.id}: {budget.outcome}: {budget.message}"


def _screen(request: AuditRequest, report: AuditReport, failed: ExitCode | None) -> str:
    colour = streams.colour_wanted(sys.stdout, request.color)
    if request.quiet:
        return verdict_line(report, colour=colour, failed=failed, alone=True) + "\n"
    return to_text(report, width=screen_width(), colour=colour, all_layers=request.all_layers, failed=failed)
