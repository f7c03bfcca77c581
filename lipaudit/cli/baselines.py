"""`lipaudit baseline update report.json`: make a report what the policy's ratchets compare with.

A ratchet that loosens without a word is none: what would allow more than before is refused unless asked for,
and before and after are printed either way.  A baseline that has the same evidence already stays, byte by
byte.  A report that is incomplete, rests on an assumed preprocessing or misses any other budget of the policy
is no baseline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from lipaudit.cli import outputs, streams
from lipaudit.cli.judging import policy_meant
from lipaudit.cli.stored import read_report
from lipaudit.errors import ExitCode, InputRefused, UsageError
from lipaudit.moment import judging_day, moment
from lipaudit.policy import Budget, Judgement, Policy, judge
from lipaudit.policy.baseline import incomparable
from lipaudit.report.canonical import to_json
from lipaudit.report.model import AuditReport, Evidence
from lipaudit.report.stored import read_report as read_file
from lipaudit.report.wording import percent_down, plural, printable, stored_text

__all__ = ["BaselineRequest", "run", "values_text"]

_SHOWN = 12  # layers of one budget that are listed


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRequest:
    """One `lipaudit baseline update` as it was typed."""

    report: str
    policy: str | None = None
    allow_increase: bool = False


@dataclass(frozen=True, slots=True)
class _Move:
    """What becomes of one limited number."""

    text: str
    looser: bool


def run(request: BaselineRequest) -> ExitCode:
    """Compare with the old baselines, print, and replace them.

    Raises:
        UsageError: if the policy has no ratchet, or a limit would rise.
        InputRefused: if the report is no baseline.
    """
    policy = policy_meant(request.policy, ignored=False)
    if not policy.baselines:
        raise UsageError("the policy has no budget with a baseline", hint='baseline = "baseline.json"')
    policy_file = {} if policy.file is None else {policy.file.path: "the policy itself"}
    for place in policy.baselines:
        outputs.check_place(place, {Path(request.report): "the report itself"} | policy_file)
    report = read_report(request.report)
    policy.check_layers([layer.name for layer in report.evidence.layers])
    waived = _check(policy, report)
    olds = {place: read_file(place) for place in policy.baselines if place.is_file()}
    same = {place for place, old in olds.items() if old.evidence_sha256 == report.evidence_sha256}
    moves = [
        move
        for budget in policy.budgets
        if budget.baseline is not None
        for move in _moves(budget, olds.get(budget.baseline), report.evidence)
    ]
    streams.write_screen("".join(f"{move.text}\n" for move in moves))
    if any(move.looser for move in moves) and not request.allow_increase:
        raise UsageError(
            "the new baseline would allow more than the old one",
            hint="add --allow-increase if that is meant",
        )
    if waived:
        streams.write_screen(f"{waived}\n")
    for place in policy.baselines:
        if place in same:
            streams.write_data(f"unchanged {place}: it has the same evidence\n")
        else:
            outputs.write_file(place, to_json(report))
            streams.write_data(f"wrote {place}\n")
    return ExitCode.PASS


def _check(policy: Policy, report: AuditReport) -> str:
    """The report answers for itself, ratchets aside; a line on budgets that it meets by a waiver only."""
    if report.evidence_sha256 is None:
        raise InputRefused(
            "this report is no baseline: it carries no digest of its evidence (schema 1.0), so nobody can "
            "tell whether it was changed",
            hint="audit the model again with this version",
        )
    others = tuple(budget for budget in policy.budgets if budget.baseline is None)
    day = judging_day(moment(), [waiver.expires for waiver in policy.waivers], report.run.started)
    judgement = judge(replace(policy, budgets=others), report.evidence, day, strict=True)
    # Not what it was called when it was made: the old ratchet may have failed then, and is compared below.
    assumed = report.evidence.preprocessing.assumption is not None
    if judgement.verdict == "pass" and not assumed:
        return _waived(judgement)
    reasons = [f"{b.id}: {b.message}" for b in judgement.outcomes if not b.is_met]
    reasons += [finding.message for finding in judgement.findings if finding.level == "error"]
    reasons += ["its preprocessing is assumed"] if assumed and not reasons else []
    raise InputRefused(
        f"this report is no baseline ({judgement.verdict}): " + "; ".join(map(printable, reasons)),
        hint="audit again until everything but the ratchets passes",
    )


def _waived(judgement: Judgement) -> str:
    """`1 budget waived until 2027-01-31`: the first day on which one of the waivers ends."""
    names = [outcome.id for outcome in judgement.outcomes if outcome.waived]
    if not names:
        return ""
    ends = min(w.expires for w in judgement.waivers if w.state == "used" and w.budget in names)
    told = ", ".join(map(printable, names))
    return f"{plural(len(names), 'budget')} waived until {ends}: {told}"


def _moves(budget: Budget, earlier: AuditReport | None, new: Evidence) -> Iterator[_Move]:
    """Before and after, of every number that a ratchet limits; layers that stay as they are, counted."""
    after = budget.measures(new)
    name = printable(budget.id)
    if not after or any(value is None for value in after.values()):
        raise InputRefused(f"this report is no baseline: it has no finite value for budget {name}")
    if earlier is None:
        yield _Move(f"{name}: no baseline yet → {values_text(budget, after)}", looser=False)
        return
    old = earlier.evidence
    why = incomparable(budget.metric, new, earlier)
    if why:
        yield _Move(f"{name}: the old baseline cannot be compared: {why}", looser=True)
        return
    before = budget.measures(old)
    for layer, value in after.items():
        if value is not None and (not layer or before.get(layer) != value):
            yield _move(budget, layer, before.get(layer), value)
    still = sum(bool(layer) and before.get(layer) == value for layer, value in after.items())
    if still:
        yield _Move(f"{name}: {plural(still, 'layer')} unchanged", looser=False)
    for layer in sorted(before.keys() - after.keys()):
        yield _Move(f"{name} at {printable(layer)}: the layer is gone (allows more)", looser=True)


def _move(budget: Budget, layer: str, before: Fraction | None, after: Fraction) -> _Move:
    """Of the network (layer "") or one layer."""
    whose = printable(budget.id) + (f" at {printable(layer)}" if layer else "")
    # Without an earlier value the ratchet was inconclusive: a limit now lets something through.
    looser = before is None or (before != after and (after > before) == budget.falls)
    told = "none" if before is None else _shown(budget, before)
    word = " (allows more)" if looser else " (unchanged)" if before == after else ""
    return _Move(f"{whose}: {told} → {_shown(budget, after)}{word}", looser)


def values_text(budget: Budget, values: dict[str, Fraction | None]) -> str:
    """What a baseline says about the number that a budget limits, or each of several."""
    shown = [
        f"{printable(layer)} {_shown(budget, value)}" if layer else _shown(budget, value)
        for layer, value in values.items()
        if value is not None
    ]
    more = f", … ({plural(len(shown), 'layer')})" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def _shown(budget: Budget, value: Fraction) -> str:
    return stored_text(float(value)) if budget.falls else percent_down(value.numerator, value.denominator)
