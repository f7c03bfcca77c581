"""What moved between two reports: (A, B) → `Changes`.

Numbers are only told side by side; whether they measure the same is told first.  A bound that moved on other
weights, or a count on other samples, is no change for better or worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from lipaudit.report.counts import counted, is_certified
from lipaudit.report.exact import read_exact
from lipaudit.report.model import AuditReport, Evidence, Finding, Layer, Robustness
from lipaudit.report.number import Number, Plain

__all__ = ["Change", "Changes", "LayerChange", "SampleChange", "Value", "changes"]

Value = str | int | float | bool | None
"""A field of a report as it reads; null is null there, too."""


@dataclass(frozen=True, slots=True)
class Change:
    """A field that is not the same in both."""

    what: str
    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class LayerChange:
    """The proved bound of a layer that both have; `factor` is after / before, null where one is infinite."""

    layer: str
    before: Value
    after: Value
    factor: float | None


@dataclass(frozen=True, slots=True)
class SampleChange:
    """Samples, by index, that are certified at `eps` in one report only."""

    eps: str
    gained: tuple[int, ...]
    lost: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that moved; empty parts did not."""

    names: tuple[str, str]
    incomparable: tuple[str, ...]
    model: tuple[Change, ...]
    dataset: tuple[Change, ...]
    preprocessing: tuple[Change, ...]
    network: tuple[Change, ...]
    layers: tuple[LayerChange, ...]
    layers_added: tuple[str, ...]
    layers_removed: tuple[str, ...]
    accuracy: tuple[Change, ...]
    samples: tuple[SampleChange, ...]
    judgement: tuple[Change, ...]
    findings_added: tuple[str, ...]
    findings_removed: tuple[str, ...]
    versions: tuple[Change, ...]

    @property
    def nothing(self) -> bool:
        """Whether no part says anything."""
        return not any(getattr(self, name) for name in self.__dataclass_fields__ if name != "names")


def changes(before: AuditReport, after: AuditReport) -> Changes:
    """Compare two reports, A before B."""
    a, b = before.evidence, after.evidence
    rows, others = {x.name: x for x in a.layers}, {x.name: x for x in b.layers}
    told, now = _findings(a.findings), _findings(b.findings)
    return Changes(
        names=(a.model.name, b.model.name),
        incomparable=tuple(_incomparable(a, b)),
        model=_moved(_model(a), _model(b)),
        dataset=_moved(_dataset(a), _dataset(b)),
        preprocessing=_moved(_preprocessing(a), _preprocessing(b)),
        network=_moved(_network(a), _network(b)),
        layers=_layers(rows, others),
        layers_added=tuple(name for name in others if name not in rows),
        layers_removed=tuple(name for name in rows if name not in others),
        accuracy=_moved(*_accuracies(a.robustness, b.robustness)),
        samples=tuple(_samples(a, b)),
        judgement=_moved(_judgement(before), _judgement(after)),
        findings_added=tuple(text for text in now if text not in told),
        findings_removed=tuple(text for text in told if text not in now),
        versions=_moved(dict(before.run.versions), dict(after.run.versions)),
    )


def _incomparable(a: Evidence, b: Evidence) -> Iterator[str]:
    if a.preprocessing.threat_space != b.preprocessing.threat_space:
        yield (
            "bounds on the network and radii: distances are measured in "
            f"{a.preprocessing.threat_space}, then in {b.preprocessing.threat_space}"
        )
    if (a.dataset is None) != (b.dataset is None):
        yield "accuracies: one of the reports evaluated no data set"
    elif a.dataset is not None and b.dataset is not None and not _same_data(a, b):
        yield "accuracies: the samples are others (their fingerprints differ)"


def _same_data(a: Evidence, b: Evidence) -> bool:
    prints = [None if x.dataset is None else x.dataset.fingerprint_sha256 for x in (a, b)]
    return prints[0] is not None and prints[0] == prints[1]


def _moved(before: Mapping[str, Value], after: Mapping[str, Value]) -> tuple[Change, ...]:
    """The keys of either whose values differ; one that is missing counts as null."""
    keys = dict.fromkeys([*before, *after])
    return tuple(
        Change(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
    )


def _model(evidence: Evidence) -> dict[str, Value]:
    model = evidence.model
    return {
        "name": model.name,
        **{f"file {file.name}": file.sha256 for file in model.files},
        "weights_sha256": model.weights_sha256,
        "format": model.format,
        "loader": model.loader,
        "trust": model.trust,
        "architecture": model.architecture,
        "input_shape": "×".join(map(str, model.input_shape)),
        "num_classes": model.num_classes,
    }


def _dataset(evidence: Evidence) -> dict[str, Value]:
    data = evidence.dataset
    if data is None:
        return {}
    return {
        "name": data.name,
        "fingerprint_sha256": data.fingerprint_sha256,
        "num_evaluated": data.num_evaluated,
        "total": data.total,
        "official": data.official,
        "limit": data.limit,
        "seed": data.seed,
    }


def _preprocessing(evidence: Evidence) -> dict[str, Value]:
    how = evidence.preprocessing
    return {
        "threat_space": how.threat_space,
        "layout": how.layout,
        "scale": how.scale,
        "mean": " ".join(how.mean),
        "std": " ".join(how.std),
        "source": how.source,
        "assumption": None if how.assumption is None else how.assumption.convention,
    }


def _number(number: Number) -> Value:
    return number.status.replace("_", " ") if number.value is None else number.value


def _plain(value: Plain | None) -> Value:
    return value if value is None or isinstance(value, float) else "unbounded"


def _network(evidence: Evidence) -> dict[str, Value]:
    ends = evidence.global_
    return {
        "upper": _number(ends.upper),
        "lower": _number(ends.lower),
        "slack": _plain(ends.slack),
        "method": ends.method,
    }


def _layers(before: Mapping[str, Layer], after: Mapping[str, Layer]) -> tuple[LayerChange, ...]:
    """Largest change first, by factor; a bound that came or went leads."""
    found = []
    for name, row in before.items():
        other = after.get(name)
        if other is not None and row.upper.value != other.upper.value:
            a, b = row.upper.value, other.upper.value
            factor = b / a if a and b is not None and math.isfinite(b / a) else None
            found.append(LayerChange(name, _number(row.upper), _number(other.upper), factor))
    return tuple(sorted(found, key=lambda x: -abs(math.log(x.factor)) if x.factor else -math.inf))


def _accuracies(a: Robustness | None, b: Robustness | None) -> tuple[dict[str, Value], dict[str, Value]]:
    """Counts at every radius that either curve has, from the samples where the other lacks it."""
    asked: dict[Fraction, str] = {}
    for robustness in (a, b):
        for point in () if robustness is None else robustness.curve:
            asked.setdefault(read_exact(point.eps_exact), point.eps_exact)
    radii = sorted(asked)
    return _counts(a, radii, asked), _counts(b, radii, asked)


def _counts(
    robustness: Robustness | None, radii: Iterable[Fraction], texts: Mapping[Fraction, str]
) -> dict[str, Value]:
    if robustness is None:
        return {}
    clean = robustness.clean_accuracy
    found: dict[str, Value] = {"clean accuracy": f"{clean.count} of {clean.n}"}
    for eps in radii:
        at = counted(robustness, eps)
        if at.certified is not None:
            found[f"certified at {texts[eps]}"] = f"{at.certified} of {at.n}"
    return {**found, "median radius": _plain(robustness.median_radius)}


def _samples(a: Evidence, b: Evidence) -> Iterator[SampleChange]:
    """At the radii of B's curve, where both list the same samples."""
    one, two = a.robustness, b.robustness
    if one is None or two is None or one.samples is None or two.samples is None or not _same_data(a, b):
        return
    if a.preprocessing.threat_space != b.preprocessing.threat_space:
        return
    before = {sample.index: sample for sample in one.samples}
    shared = [(before[x.index], x) for x in two.samples if x.index in before]
    for point in two.curve:
        eps = read_exact(point.eps_exact)
        gained = tuple(y.index for x, y in shared if is_certified(y, eps) and not is_certified(x, eps))
        lost = tuple(y.index for x, y in shared if is_certified(x, eps) and not is_certified(y, eps))
        if gained or lost:
            yield SampleChange(point.eps_exact, gained, lost)


def _judgement(report: AuditReport) -> dict[str, Value]:
    budgets = {
        f"budget {budget.id}": f"{budget.outcome}{' (waived)' if budget.waived else ''}, limit {budget.limit}"
        for budget in report.evidence.budgets
    }
    return {"verdict": report.verdict, "exit_code": report.exit_code, **budgets}


def _findings(findings: Iterable[Finding]) -> dict[str, None]:
    """Each as one line, in order."""
    texts = (f"{f.level} {f.rule}{f' [{f.layer}]' if f.layer else ''} {f.message}" for f in findings)
    return dict.fromkeys(texts)
