"""Budgets from above: the Lipschitz constant, or the slack of its bracket, is at most a limit.

pass iff the proved upper end ≤ limit · fail iff the witnessed lower end > limit · else inconclusive.
Slack = upper / lower says how loose a proof is.  Nothing witnesses a large slack (a better method may find a
smaller one), so that it passes or stays inconclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lipaudit.policy.baseline import Reference, amount, measured
from lipaudit.policy.budget import Baselines, worst
from lipaudit.policy.limit import Limit, Ratchet
from lipaudit.policy.naming import meant
from lipaudit.policy.space import Space
from lipaudit.report.judgement import BudgetOutcome, LayerOutcome, Metric, Outcome
from lipaudit.report.model import Evidence, Layer
from lipaudit.report.number import Plain
from lipaudit.report.wording import plural, printable, shown_down, shown_up

__all__ = ["CeilingBudget"]

_NAMED = 3
"""Layers that a message names before it only counts."""


@dataclass(frozen=True, slots=True)
class CeilingBudget:
    """`metric` is at most `limit`: of the network, or of every layer that matches by itself.

    Args:
        metric: `lipschitz` or `slack`.
        limit: in units of output per unit of the threat space, or a ratio.
        layers: patterns (`*` is any text) of the layers meant; none: the network.
        line: where it stands in the policy file.
        space: the unit that distances are meant in; None: the policy's.
    """

    id: str
    metric: Metric
    limit: Limit | Ratchet
    layers: tuple[str, ...] = ()
    line: int | None = None
    space: Space | None = None

    @property
    def asked_eps(self) -> str | None:
        """None: it asks for no radius."""
        return None

    @property
    def baseline(self) -> Path | None:
        """The earlier report, of a ratchet."""
        return self.limit.path if isinstance(self.limit, Ratchet) else None

    @property
    def needs_data(self) -> bool:
        """No: it is about the network alone."""
        return False

    @property
    def words(self) -> str:
        """Whose number is at most what."""
        whose = f"each layer called {' or '.join(self.layers)}" if self.layers else "the network"
        what = "l2 Lipschitz constant" if self.metric == "lipschitz" else "slack (upper / lower)"
        if isinstance(self.limit, Ratchet):
            return f"the {what} of {whose} is at most {self.limit.text} above that in {self.limit.path.name}"
        return f"the {what} of {whose} is at most {self.limit.text}"

    @property
    def falls(self) -> bool:
        """Yes."""
        return True

    def measures(self, evidence: Evidence) -> dict[str, Fraction | None]:
        """What is proved."""
        if not self.layers:
            return {"": _finite(measured(evidence, self.metric))}
        return {layer.name: _finite(measured(evidence, self.metric, layer)) for layer in self._rows(evidence)}

    def _rows(self, evidence: Evidence) -> list[Layer]:
        """The layers that it limits one by one."""
        names = meant(self.layers, [layer.name for layer in evidence.layers])
        return [layer for layer in evidence.layers if layer.name in names]

    def judge(self, evidence: Evidence, baselines: Baselines) -> BudgetOutcome:
        """Compare with the network's ends, or with those of each layer that matches."""
        if self.layers:
            return self._of_layers(evidence, baselines)
        upper, lower = self._ends(evidence)
        against = amount(self.limit, self.metric, evidence, baselines)
        outcome = _compare(upper, lower, against)
        return BudgetOutcome(
            id=self.id,
            metric=self.metric,
            limit=self._limit_text(against),
            outcome=outcome,
            message=self._message(outcome, upper, lower, against),
            evidence={"slack": upper} if self.metric == "slack" else {"upper": upper, "lower": lower},
            baseline=against.record,
            line=self.line,
        )

    def _of_layers(self, evidence: Evidence, baselines: Baselines) -> BudgetOutcome:
        rows: list[LayerOutcome] = []
        reasons: dict[str, None] = {}
        against = Reference(None)
        for layer in self._rows(evidence):
            upper, lower = self._ends(evidence, layer)
            against = amount(self.limit, self.metric, evidence, baselines, layer.name)
            outcome = _compare(upper, lower, against)
            rows.append(LayerOutcome(layer=layer.name, outcome=outcome, upper=upper, lower=lower))
            if against.limit is None:
                reasons[against.why] = None
        for name in self._gone(evidence, baselines):
            rows.append(LayerOutcome(layer=name, outcome="inconclusive", upper=None))
            reasons[f"{printable(name)} is in the baseline and not in this report"] = None
        outcome = worst([row.outcome for row in rows]) if rows else "inconclusive"
        record = against.record
        return BudgetOutcome(
            id=self.id,
            metric=self.metric,
            limit=self._limit_text(None),
            outcome=outcome,
            message=_summary(rows, [f"{self._limit_text(None)} allowed", *reasons]),
            evidence={},
            layers=tuple(rows),
            baseline=None if record is None else record.model_copy(update={"value": None}),
            line=self.line,
        )

    def _gone(self, evidence: Evidence, baselines: Baselines) -> list[str]:
        """The layers that the earlier report has and this one lacks: nobody knows what became of them."""
        report = None if self.baseline is None else baselines.get(self.baseline)
        if report is None:
            return []
        here = {layer.name for layer in evidence.layers}
        return [layer.name for layer in self._rows(report.evidence) if layer.name not in here]

    def _ends(self, evidence: Evidence, layer: Layer | None = None) -> tuple[Plain | None, float | None]:
        """What is proved, and what is witnessed."""
        upper = measured(evidence, self.metric, layer)
        if self.metric == "slack":
            return upper, None
        return upper, (evidence.global_ if layer is None else layer).lower.value

    def _limit_text(self, against: Reference | None) -> str:
        if isinstance(self.limit, Limit):
            return self.limit.text
        if against is not None and against.limit is not None:
            return against.limit.text
        return f"{self.limit.text} above {self.limit.path.name}"

    def _message(self, outcome: Outcome, upper: Plain | None, lower: float | None, against: Reference) -> str:
        limit = against.limit
        proved = _proved(self.metric, upper, limit)
        if limit is None:
            return f"{proved}; {against.why}"
        allowed = f"{limit.text} allowed" + (f" ({against.why})" if against.why else "")
        if outcome == "pass":
            return f"{proved}, {allowed}"
        if self.metric == "slack":
            return f"{proved}, {allowed}: a tighter method may decide"
        seen = "nothing witnessed" if lower is None else f"{_witnessed(lower, limit)} witnessed"
        if outcome == "fail":
            return f"{seen}, {allowed}: no method can prove it"
        return f"{proved}, {seen}, {allowed}: not decided"


def _compare(upper: Plain | None, lower: float | None, against: Reference) -> Outcome:
    limit = against.limit
    if limit is None:
        return "inconclusive"
    if isinstance(upper, float) and Fraction(upper) <= limit.value:
        return "pass"
    return "fail" if lower is not None and Fraction(lower) > limit.value else "inconclusive"


def _proved(metric: str, upper: Plain | None, limit: Limit | None) -> str:
    if not isinstance(upper, float):
        if metric == "slack":
            return "no slack without a witness" if upper is None else "no finite slack"
        return "no finite bound"
    # Enough digits, rounded up, not to look larger than the limit it meets.
    texts = [shown_up(upper, digits) for digits in (5, 9, 17)]
    fitting = (text for text in texts if limit is not None and Fraction(text) <= limit.value)
    text = next(fitting, texts[0])
    return f"slack {text}" if metric == "slack" else f"at most {text} proved"


def _witnessed(lower: float, limit: Limit) -> str:
    """Enough digits, rounded down, not to look as if it met the limit it exceeds."""
    texts = [shown_down(lower, digits) for digits in (5, 9, 17)]
    return next((text for text in texts if Fraction(text) > limit.value), texts[0])


def _summary(rows: Sequence[LayerOutcome], remarks: Sequence[str]) -> str:
    """Which layers keep the budget from passing; their numbers stand beside it."""
    if not rows:
        return "no layer is called so"
    parts = []
    for kind, verb in (("fail", "exceed it"), ("inconclusive", "not decided")):
        names = [row.layer for row in rows if row.outcome == kind]
        if names:
            shown = ", ".join(map(printable, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
            parts.append(f"{len(names)} of {plural(len(rows), 'layer')} {verb} ({shown})")
    if not parts:
        parts.append(f"{plural(len(rows), 'layer')} looked at, none above it")
    return "; ".join([*parts, *remarks])


def _finite(value: Plain | None) -> Fraction | None:
    return Fraction(value) if isinstance(value, float) else None
