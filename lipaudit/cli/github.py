"""GitHub Actions: annotations on the changed files, and the report in the job's summary.

Annotations are commands for the runner (`workflow`), which reads them from both streams; here they go to
stderr, because stdout is data.  A step may show ten of each kind, so at most nine are written, the worst
first.  The summary is a file that steps append Markdown to; the runner drops one beyond 1 MiB.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from lipaudit.cli import streams, workflow
from lipaudit.errors import ExitCode
from lipaudit.report import AuditReport
from lipaudit.report.markdown import cut, to_markdown
from lipaudit.report.problems import Problem, problems

__all__ = ["MOST", "SUMMARY", "annotate", "commands", "summarize"]

MOST = 9
"""Annotations of one run."""
SUMMARY = 900_000
"""Bytes that a step's summary may have, with what other commands of the step wrote before."""

_KINDS = {"error": "error", "warning": "warning", "note": "notice"}


def annotate(report: AuditReport, files: Iterable[Path] = ()) -> None:
    """Annotate the changed files, where this runs in a job of GitHub's; elsewhere do nothing.

    Args:
        report: what to tell.
        files: where the policy and the model lie: the report knows their base names only.
    """
    if workflow.is_job():
        for line in commands(report, files):
            streams.command(line)


def commands(report: AuditReport, files: Iterable[Path] = ()) -> Iterator[str]:
    """Workflow commands, worst first; where there are too many, the last one counts the rest."""
    found = problems(report)
    places = {path.name: _in_workspace(path) for path in files}
    shown = found if len(found) <= MOST else found[: MOST - 1]
    for problem in shown:
        yield _annotation(problem, _place(problem, report, places))
    if len(found) > len(shown):
        rest = f"{len(found) - len(shown)} more: the job's summary and the report have them"
        yield workflow.command_line("notice", {"title": "lipaudit"}, rest)


def _annotation(problem: Problem, place: dict[str, str]) -> str:
    properties = {**place, "title": f"lipaudit: {problem.title}"}
    layers = f" (layers: {', '.join(problem.layers[:MOST])})" if problem.budget and problem.layers else ""
    return workflow.command_line(_KINDS[problem.level], properties, problem.message + layers)


def _place(problem: Problem, report: AuditReport, places: dict[str, str]) -> dict[str, str]:
    """The budget's line in the policy, else the model's file."""
    policy = report.evidence.policy
    if policy is not None and problem.line is not None:
        return {"file": places.get(policy.name, policy.name), "line": str(problem.line)}
    name = report.evidence.model.name
    return {"file": places.get(name, name)}


def _in_workspace(path: Path) -> str:
    """As the repository calls it."""
    root = os.environ.get("GITHUB_WORKSPACE", "")
    return os.path.relpath(os.path.realpath(path), os.path.realpath(root or "."))


def summarize(report: AuditReport, failed: ExitCode | None = None) -> None:
    """Append the report to the job's summary, if there is one: the last thing a command does.

    A summary outlives the log; a verdict in it that the step does not end with would be believed.

    Args:
        report: what to tell.
        failed: with what the step ends because a report could not be written: no verdict then.
    """
    place = os.environ.get("GITHUB_STEP_SUMMARY", "")
    if not place or not workflow.is_job():
        return
    try:
        path = Path(place)
        left = SUMMARY - (path.stat().st_size if path.exists() else 0)
        text = cut(f"\n{to_markdown(report, failed=failed)}", left)
        with path.open("ab") as stream:
            stream.write(text.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError) as error:
        streams.say(f"the job's summary was not written: {error}")
