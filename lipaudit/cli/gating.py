"""`lipaudit gate report.json`: judge a report again, by another policy or on another day."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from lipaudit.cli import failures, github, outputs, streams, values, workflow
from lipaudit.cli.judging import policy_meant
from lipaudit.cli.model_file import Present, looked_at, other_warning, present_line
from lipaudit.cli.screen import screen_width
from lipaudit.cli.stored import STDIN, doubted, read_report
from lipaudit.errors import ExitCode, UsageError
from lipaudit.moment import judging_day, moment
from lipaudit.policy import Policy, judge, load_baselines, parse_budgets, with_flags
from lipaudit.report import AuditReport
from lipaudit.report.judged import judgement_text
from lipaudit.report.text import WIDTH, verdict_line

__all__ = ["GateRequest", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """One `lipaudit gate` as it was typed."""

    report: str
    policy: str | None = None
    no_policy: bool = False
    max_lipschitz: str | None = None
    min_certified: Sequence[str] = ()
    output: Sequence[str] = ()
    quiet: bool = False
    color: str = "auto"


def run(request: GateRequest) -> ExitCode:
    """Judge, write, tell.

    Returns:
        The exit code of the verdict.  An assumed preprocessing is incomplete: a gate asks for a stated one.

    Raises:
        LipauditError: whatever keeps the report from being judged.
    """
    targets = outputs.parse_targets(request.output, outputs.REPORTS)
    streams.check_colour(request.color)
    flags = parse_budgets(max_lipschitz=request.max_lipschitz, min_certified=request.min_certified)
    policy = with_flags(policy_meant(request.policy, ignored=request.no_policy), flags)
    if request.report != STDIN:
        values.existing_file(request.report, kind="the path of a JSON report")
    if not policy.budgets:
        if request.report != STDIN:
            read_report(request.report)  # what is no report is told first: no policy would help
        raise UsageError(
            "there is nothing to judge the report by",
            hint="--policy FILE, --max-lipschitz L or --min-certified EPS:SHARE; "
            "`lipaudit policy init` writes a commented example",
        )
    now = moment()
    source = {} if request.report == STDIN else {Path(request.report): "the report itself"}
    outputs.check_targets(targets, source | outputs.judged_by(policy))
    _check_baselines(policy, source)
    report = read_report(request.report)
    day = judging_day(now, [waiver.expires for waiver in policy.waivers], report.run.started)
    judged = _judged(policy, report, day)
    present = _present(request, report)
    failed: ExitCode | None = None
    try:
        outputs.write_targets(targets, judged, quiet=request.quiet)
    except BaseException as error:  # an interruption, too: the step does not end with this verdict
        failed = failures.describe(error).code
        raise
    finally:
        github.annotate(judged, [] if policy.file is None else [policy.file.path])
        _warn(present)
        _tell(request, targets, judged, (failed, present_line(report.evidence.model.files, present)))
        github.summarize(judged, failed)
    return ExitCode(judged.exit_code)


def _check_baselines(policy: Policy, source: Iterable[Path]) -> None:
    """A report that is compared with itself is never worse.

    Raises:
        UsageError: if it is.
    """
    for report in source:
        for baseline in policy.baselines:
            if baseline.exists() and report.exists() and baseline.samefile(report):
                raise UsageError(
                    f"{report} is a baseline of the policy: it would be compared with itself",
                    hint="gate the report of a new audit; `lipaudit baseline update` moves a baseline",
                )


def _judged(policy: Policy, report: AuditReport, today: date) -> AuditReport:
    """The report with this judgement; what had no digest gets none, since it may have been changed."""
    evidence = doubted(report).evidence
    judged = judge(policy, evidence, today, load_baselines(policy), strict=True).report(evidence, report.run)
    if report.evidence_sha256 is not None:
        return judged
    return judged.model_copy(update={"evidence_sha256": None, "schema_version": report.schema_version})


def _present(request: GateRequest, report: AuditReport) -> tuple[Present, ...]:
    """The model's files in the current folder and beside the report."""
    beside = () if request.report == STDIN else (Path(request.report).parent,)
    return looked_at(report.evidence.model.files, (Path(), *beside))


def _warn(present: Iterable[Present]) -> None:
    """Of a file that is not the audited one, also where little is said: the verdict is not about it."""
    warning = other_warning(present)
    if warning and workflow.is_job():
        streams.command(workflow.command_line("warning", {"title": "lipaudit: another file"}, warning))
    elif warning:
        streams.say(f"warning: {warning}")


def _tell(
    request: GateRequest,
    targets: Sequence[outputs.Target[AuditReport]],
    judged: AuditReport,
    ended: tuple[ExitCode | None, str],
) -> None:
    """How it was judged, the verdict last.

    Args:
        request: what was asked for.
        targets: where reports went.
        judged: the report.
        ended: with what the step ends because a report could not be written, and what is known of the model.
    """
    failed, model = ended
    colour = streams.colour_wanted(sys.stdout, request.color)
    verdict = verdict_line(judged, colour=colour, failed=failed, alone=request.quiet) + "\n"
    if any(target.path is None for target in targets):
        if not request.quiet:
            colour = streams.colour_wanted(sys.stderr, request.color)
            streams.say(verdict_line(judged, colour=colour, failed=failed))
    elif request.quiet:
        streams.write_screen(verdict)
    else:
        width = screen_width(WIDTH)
        streams.write_screen(f"{judgement_text(judged, width, colour=colour, model=model)}\n{verdict}")
