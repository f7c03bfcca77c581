"""`lipaudit policy init` and `lipaudit policy check`: write an example, tell what a policy asks for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from operator import itemgetter
from pathlib import Path
from textwrap import fill

from lipaudit.cli import outputs, streams
from lipaudit.cli.baselines import values_text
from lipaudit.cli.judging import closest_policy
from lipaudit.errors import ExitCode, InputUnavailable
from lipaudit.moment import judging_day, moment
from lipaudit.policy import Budget, Policy, load_baselines, load_policy
from lipaudit.policy.source import POLICY
from lipaudit.policy.template import template
from lipaudit.policy.waiver import Waiver
from lipaudit.report.stored import read_report
from lipaudit.report.text import WIDTH
from lipaudit.report.wording import plural, printable

__all__ = ["check", "init"]

_INDENT = " " * 13
_AHEAD = 90  # days that the example of a waiver holds
_SOON = 30  # days before its last one that a waiver is called out


def init(name: str | None) -> ExitCode:
    """Write the commented example.

    Raises:
        UsageError: if the file is there already, or cannot be written.
    """
    path = Path(name or POLICY)
    ahead = moment().date() + timedelta(days=_AHEAD)
    outputs.write_new(path, template(ahead).encode("utf-8"), 0o644)
    streams.write_data(
        f"wrote {path}: remove the # of a budget to switch it on, then `lipaudit policy check`\n"
    )
    return ExitCode.PASS


def check(name: str | None) -> ExitCode:
    """Read a policy and say in words what it asks for.

    Raises:
        UsageError: with all that is wrong, each with its line.
        InputUnavailable: if there is no policy; or, once it is told, if a baseline of it is missing.
    """
    at = moment()
    path = closest_policy() if name is None else Path(name)
    if path is None:
        raise InputUnavailable(
            f"no {POLICY} here or in a folder above", hint="`lipaudit policy init` writes a commented example"
        )
    policy = load_policy(path)
    today = judging_day(at, [waiver.expires for waiver in policy.waivers])
    lines = (fill(line, WIDTH, subsequent_indent=_INDENT) for line in _told(policy, path, today))
    streams.write_screen("\n".join(lines) + "\n")
    load_baselines(policy)
    if not policy.budgets:
        streams.say(f"warning: {path} sets no budget and no requirement: whatever it judges passes")
    return ExitCode.PASS


def _told(policy: Policy, path: Path, today: date) -> Iterator[str]:
    """What there is, then each of it in the order of the file."""
    required = sum(budget.metric == "require" for budget in policy.budgets)
    counts = (
        plural(len(policy.budgets) - required, "budget"),
        *([plural(required, "requirement")] if required else []),
        plural(len(policy.waivers), "waiver"),
    )
    yield f"{printable(str(path))}: {', '.join(counts)}"
    told = [(budget.line or 0, list(_budget(budget))) for budget in policy.budgets]
    told += [(waiver.line or 0, [_waiver(waiver, today)]) for waiver in policy.waivers]
    for line, (first, *rest) in sorted(told, key=itemgetter(0)):
        yield f"  line {line:>4}  {first}"
        yield from (f"{_INDENT}{more}" for more in rest)


def _budget(budget: Budget) -> Iterator[str]:
    yield f"{printable(budget.id)}: {printable(budget.words)}"
    if budget.baseline is not None:
        yield _baseline(budget, budget.baseline)


def _baseline(budget: Budget, path: Path) -> str:
    """What the earlier report says, if it is there."""
    name = printable(str(path))
    if not path.is_file():
        return f"{name} is missing: `lipaudit baseline update REPORT` writes it"
    told = values_text(budget, budget.measures(read_report(path).evidence))
    return f"{name} says {told or 'nothing about it'}"


def _waiver(waiver: Waiver, today: date) -> str:
    left = (waiver.expires - today).days
    where = f" at {', '.join(waiver.layers)}" if waiver.layers else ""
    if left < 0:
        state = f"EXPIRED on {waiver.expires}: it no longer counts"
    elif left <= _SOON:
        state = f"EXPIRES SOON, on {waiver.expires} ({plural(left, 'day')} left)"
    else:
        state = f"until {waiver.expires} ({left} days left)"
    return printable(f"waives {waiver.budget}{where}, {state}; {waiver.owner}: {waiver.reason}")
