"""What a ratchet compares with: the number of an earlier report, where the two can be compared at all."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction

from lipaudit.policy.budget import Baselines
from lipaudit.policy.limit import Limit, Ratchet
from lipaudit.policy.verdict import is_incomplete
from lipaudit.report.canonical import digest_of
from lipaudit.report.counts import counted
from lipaudit.report.judgement import BaselineRecord, Metric
from lipaudit.report.model import AuditReport, Evidence, Layer
from lipaudit.report.number import DIGITS, Plain, Unbounded
from lipaudit.report.wording import percent_up, printable, stored_text

__all__ = ["Reference", "amount", "incomparable", "measured", "share"]


@dataclass(frozen=True, slots=True)
class Reference:
    """The limit that a budget compares with.

    Attributes:
        limit: None where the earlier report gives none.
        why: why not, or where the limit comes from.
        record: of the earlier report; None for a fixed limit.
    """

    limit: Limit | None
    why: str = ""
    record: BaselineRecord | None = None


def measured(evidence: Evidence, metric: Metric, layer: Layer | None = None) -> Plain | None:
    """The bound that `lipschitz` and `slack` compare, of the network or of one layer; None: not analysed."""
    if metric == "slack":
        return evidence.global_.slack if layer is None else layer.slack
    upper = evidence.global_.upper if layer is None else layer.upper
    return Unbounded() if upper.status == "unbounded" else upper.value


def incomparable(metric: Metric, evidence: Evidence, report: AuditReport) -> str:
    """Why an earlier report's numbers are nothing to compare with; "" if they are."""
    earlier = report.evidence
    if report.evidence_sha256 is None:
        return "it carries no digest (schema 1.0): nobody can tell whether it was changed"
    if is_incomplete(earlier.global_, earlier.findings):
        return "its own audit is incomplete"
    spaces = (evidence.preprocessing.threat_space, earlier.preprocessing.threat_space)
    if metric != "slack" and spaces[0] != spaces[1]:
        return f"it measures distances in {printable(spaces[1])}, this report in {printable(spaces[0])}"
    return "" if metric in ("lipschitz", "slack") else _other_samples(evidence, earlier)


def _other_samples(evidence: Evidence, earlier: Evidence) -> str:
    if earlier.dataset is None or earlier.robustness is None:
        return "it evaluated no data set"
    if evidence.dataset is None:
        return "this report evaluated no data set"
    if evidence.dataset.fingerprint_sha256 != earlier.dataset.fingerprint_sha256:
        return "it was made on other samples (another fingerprint)"
    return ""


def amount(
    limit: Limit | Ratchet, metric: Metric, evidence: Evidence, baselines: Baselines, layer: str | None = None
) -> Reference:
    """The largest value of `lipschitz` or `slack` that is allowed, for the network or one layer."""
    if isinstance(limit, Limit):
        return Reference(limit)
    name, report, why = _earlier(limit, metric, evidence, baselines)
    if report is None:
        return Reference(None, why)
    earlier = report.evidence
    rows = {row.name: row for row in earlier.layers}
    if layer is not None and layer not in rows:
        return Reference(None, f"{name} has no such layer", _record(limit, report, None))
    value = measured(earlier, metric, None if layer is None else rows[layer])
    record = _record(limit, report, value)
    if why or not isinstance(value, float):
        return Reference(None, why or f"{name} has no finite value", record)
    exact = Fraction(value) * (1 + limit.step)
    told = f"{limit.text} above the {stored_text(value)} of {name}"
    return Reference(Limit(exact, _decimal(exact)), told, record)


def share(
    limit: Limit | Ratchet, metric: Metric, eps: Fraction | None, evidence: Evidence, baselines: Baselines
) -> Reference:
    """The smallest clean or certified accuracy that is allowed."""
    if isinstance(limit, Limit):
        return Reference(limit)
    name, report, why = _earlier(limit, metric, evidence, baselines)
    if report is None:
        return Reference(None, why)
    robustness = report.evidence.robustness
    count, n = None, 0
    if robustness is not None:
        clean = robustness.clean_accuracy
        count, n = (clean.count if eps is None else counted(robustness, eps).certified), clean.n
    record = _record(limit, report, count / n if count is not None and n > 0 else None)
    if why or count is None or n == 0:
        return Reference(None, why or f"{name} does not tell it: it stores no samples", record)
    exact = max(Fraction(count, n) - limit.step, Fraction(0))
    told = f"{limit.text} below the {count} of {n} of {name}"
    return Reference(Limit(exact, percent_up(exact.numerator, exact.denominator)), told, record)


def _decimal(value: Fraction) -> str:
    """Nine digits, rounded down: what looks allowed is."""
    exact = Context(prec=DIGITS, rounding=ROUND_FLOOR).divide(
        Decimal(value.numerator), Decimal(value.denominator)
    )
    return f"{exact.normalize():f}" if -4 < exact.adjusted() < DIGITS else f"{exact:e}"


def _earlier(
    ratchet: Ratchet, metric: Metric, evidence: Evidence, baselines: Baselines
) -> tuple[str, AuditReport | None, str]:
    name = printable(ratchet.path.name)
    report = baselines.get(ratchet.path)
    if report is None:
        return name, None, f"the baseline {name} was not given"
    why = incomparable(metric, evidence, report)
    return name, report, f"not comparable with {name}: {why}" if why else ""


def _record(ratchet: Ratchet, report: AuditReport, value: Plain | None) -> BaselineRecord:
    digest = report.evidence_sha256 or digest_of(report.evidence)  # reports of schema 1.0 have none
    return BaselineRecord(name=ratchet.path.name, evidence_sha256=digest, value=value)
