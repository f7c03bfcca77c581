"""`[require]`: conditions on the audit itself: how many samples, which data, how the model was read.

pass: the report says so · fail: the report says otherwise · inconclusive: the report does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lipaudit.policy.budget import Baselines
from lipaudit.policy.space import Space, space_of
from lipaudit.report.judgement import BudgetOutcome, Metric, Outcome
from lipaudit.report.model import Evidence
from lipaudit.report.number import Plain
from lipaudit.report.wording import percent_down, printable

__all__ = ["CLAUSES", "Clause", "Requirement", "Wanted"]

Wanted = int | str | bool | Fraction | tuple[str, ...]
"""What a clause asks for."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One clause; `wanted` has the type that its row of `CLAUSES` expects."""

    clause: str
    wanted: Wanted
    text: str
    line: int | None = None

    @property
    def id(self) -> str:
        """`require.` and the clause's name."""
        return f"require.{self.clause}"

    @property
    def metric(self) -> Metric:
        """`require`: a condition, no measure."""
        return "require"

    @property
    def asked_eps(self) -> str | None:
        """None: it asks for no radius."""
        return None

    @property
    def space(self) -> Space | None:
        """None: it speaks of no distance."""
        return None

    @property
    def layers(self) -> tuple[str, ...]:
        """None: it is about the audit."""
        return ()

    @property
    def baseline(self) -> Path | None:
        """None: it compares with nothing."""
        return None

    @property
    def needs_data(self) -> bool:
        """No: without a data set it fails, which is an answer."""
        return False

    @property
    def words(self) -> str:
        """What the audit must be like."""
        return CLAUSES[self.clause].words.format(self.text)

    @property
    def falls(self) -> bool:
        """No."""
        return False

    def measures(self, evidence: Evidence) -> dict[str, Fraction | None]:
        """Nothing: a condition is no number."""
        del evidence
        return {}

    def judge(self, evidence: Evidence, baselines: Baselines) -> BudgetOutcome:
        """Compare with what the report says about itself."""
        del baselines
        found = CLAUSES[self.clause].answer(evidence, self.wanted)
        return BudgetOutcome(
            id=self.id,
            metric=self.metric,
            limit=self.text,
            outcome=found.outcome,
            message=f"{found.message}, {printable(self.text)} required",
            evidence=dict(found.numbers),
            line=self.line,
        )


@dataclass(frozen=True, slots=True)
class _Found:
    outcome: Outcome
    message: str
    numbers: Mapping[str, int | Plain | None]


_NO_DATA = _Found("fail", "no data set was evaluated", {})


def _said(met: bool, message: str, **numbers: int) -> _Found:  # noqa: FBT001 -- what is said either way
    return _Found("pass" if met else "fail", message, numbers)


def _min_samples(evidence: Evidence, wanted: Wanted) -> _Found:
    count = 0 if evidence.dataset is None else evidence.dataset.num_evaluated
    return _said(isinstance(wanted, int) and count >= wanted, f"{count} evaluated", num_evaluated=count)


def _dataset(evidence: Evidence, wanted: Wanted) -> _Found:
    if evidence.dataset is None:
        return _NO_DATA
    return _said(evidence.dataset.name == wanted, f"evaluated on {printable(evidence.dataset.name)}")


def _fingerprint(evidence: Evidence, wanted: Wanted) -> _Found:
    if evidence.dataset is None:
        return _NO_DATA
    found = evidence.dataset.fingerprint_sha256
    return _said(found == wanted, f"the samples' fingerprint is {found}")


def _official(evidence: Evidence, wanted: Wanted) -> _Found:
    del wanted
    if evidence.dataset is None:
        return _NO_DATA
    official = evidence.dataset.official
    if official is None:
        return _Found("inconclusive", "nobody knows whether these are the published data", {})
    return _said(official, "these are the published data" if official else "these are not the published data")


def _trust(evidence: Evidence, wanted: Wanted) -> _Found:
    allowed = wanted if isinstance(wanted, tuple) else ()
    return _said(evidence.model.trust in allowed, f"the model was read as: {printable(evidence.model.trust)}")


def _coverage(evidence: Evidence, wanted: Wanted) -> _Found:
    n = len(evidence.layers)
    bounded = sum(layer.upper.value is not None for layer in evidence.layers)
    numbers = {"bounded_layers": bounded, "layers": n}
    if n == 0:
        return _Found("inconclusive", "the report lists no layer", numbers)
    lost = bounded == n and evidence.global_.upper.value is None  # their product is too large
    met = isinstance(wanted, Fraction) and Fraction(bounded, n) >= wanted and not lost
    told = f"{bounded} of {n} layers ({percent_down(bounded, n)}) have a finite bound"
    return _said(met, f"{told}, the network has none" if lost else told, **numbers)


def _attacked(evidence: Evidence, wanted: Wanted) -> _Found:
    del wanted
    tried = evidence.falsification
    if tried is None:
        return _said(False, "nobody tried to refute the claims")
    return _said(True, f"claims about {tried.attacked_samples} samples and the network were attacked")


def _arithmetic(evidence: Evidence, wanted: Wanted) -> _Found:
    if evidence.robustness is None:
        return _Found("inconclusive", "no certified radii were computed", {})
    return _said(evidence.robustness.arithmetic == wanted, f"{evidence.robustness.arithmetic} arithmetic")


def _threat_space(evidence: Evidence, wanted: Wanted) -> _Found:
    how = evidence.preprocessing
    return _said(space_of(how) == wanted, f"distances are in {printable(how.threat_space)}")


def _weights(evidence: Evidence, wanted: Wanted) -> _Found:
    found = evidence.model.weights_sha256
    return _said(found == wanted, f"the model's weights have the digest {found}")


@dataclass(frozen=True, slots=True)
class Clause:
    """What answers a clause, and how it reads."""

    answer: Callable[[Evidence, Wanted], _Found]
    words: str


CLAUSES: Mapping[str, Clause] = {
    "min_samples": Clause(_min_samples, "at least {} samples are evaluated"),  # a whole number
    "dataset": Clause(_dataset, "the data set is called {}"),  # as the report spells it
    "dataset_fingerprint": Clause(_fingerprint, "the samples have the fingerprint {}"),  # 64 hex digits
    "official": Clause(_official, "the data are the published ones"),  # true
    "trust": Clause(_trust, "the model was read as: {}"),  # one or several of the report's words, a tuple
    "coverage": Clause(_coverage, "{} of the layers have a finite bound"),  # a share
    "attacked": Clause(_attacked, "somebody tried to refute the claims"),  # true
    "threat_space": Clause(_threat_space, "distances, and the budgets on them, are in the space: {}"),
    "weights_sha256": Clause(_weights, "the model's weights have the digest {}"),  # 64 hex digits
    "arithmetic": Clause(_arithmetic, "the radii hold in {} arithmetic"),
}
"""Every clause of `[require]`."""
