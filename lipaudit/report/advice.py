"""What the numbers mean in words, and what to do next: `AuditReport` → sentences.

A global bound on an ordinarily trained network is often astronomically loose.  A report that only
printed the number would be read as a result, so these sentences say that it is none.
"""

from __future__ import annotations

import math
from fractions import Fraction

from lipaudit.report.inputs import ModelRecord
from lipaudit.report.model import AuditReport, Evidence, Layer, Robustness
from lipaudit.report.remedies import offenders_text, preprocessing_flags, remedies
from lipaudit.report.wording import printable, radius_text, shown_up

__all__ = ["costliest", "next_steps", "remarks", "without_bound"]

GREY_LEVEL = 1 / 255
"""One pixel changed by one step of eight bits: the smallest change an image file can hold."""

_LOOSE = 100.0  # a bound this far above the witnessed value says more about the method than the network
_MANY = 3
_KNOWN_DATA = {(784, 10): "mnist", (3072, 10): "cifar10", (3072, 100): "cifar100"}
"""Data sets by the numbers of entries of a sample and of classes."""
_ASSUMED = frozenset({"LIP304", "LIP305", "LIP306"})  # findings whose advice tells the flags
_WORTHLESS = frozenset({"LIP301", "LIP302"})  # near chance, outputs that are not finite


def remarks(report: AuditReport) -> tuple[str, ...]:
    """What a reader would otherwise conclude wrongly from the numbers alone."""
    evidence = report.evidence
    found: list[str] = []
    if evidence.budgets and _is_assumed(evidence):
        found.append(
            "The budgets were judged by a preprocessing that nobody stated: no other usual one does as well, "
            "but `gate` takes no assumption (exit 3)."
        )
    if evidence.global_.upper.status == "not_analysed":
        found.append("The network was not bounded as a whole: only its layers and what runs up to them.")
    elif evidence.global_.upper.value is None:
        found.append("No finite bound on the network: nothing is certified at any radius.")
    elif _is_loose(evidence):
        found.append(
            f"The bound is {shown_up(_slack(evidence), 3)} times the largest ratio that was witnessed: "
            "the true constant lies anywhere between."
        )
    if evidence.robustness is not None and evidence.global_.upper.value is not None:
        found += _radius_remarks(evidence, evidence.robustness)
    return tuple(found)


def next_steps(report: AuditReport) -> tuple[str, ...]:
    """One sentence per thing that would make this report say more."""
    evidence = report.evidence
    worthless = dict.fromkeys(f.rule for f in evidence.findings if f.rule in _WORTHLESS)
    if worthless:
        return (f"Mend what {' and '.join(worthless)} tells, then audit again: the numbers say nothing yet.",)
    steps: list[str] = []
    missing = without_bound(evidence)
    steps += [_missing_text(layer) for layer in missing[:_MANY]]
    if len(missing) > _MANY:
        steps.append(f"… and {len(missing) - _MANY} more without a bound")
    if evidence.dataset is None and evidence.model.num_classes is not None:
        steps.append(_data_text(evidence.model))
    if not evidence.budgets:
        steps.append(
            "Set a budget, so that a change for the worse fails: --max-lipschitz L, --min-certified EPS:SHARE"
        )
    if _is_assumed(evidence):
        steps.append(
            f"State the preprocessing that was assumed: {preprocessing_flags(evidence.preprocessing)}"
        )
    steps += remedies(evidence)
    named = offenders_text(evidence)
    if not missing and named and _is_useless(evidence) and not any(named in step for step in steps):
        steps.append(
            "Train for small gains (spectral normalisation, orthogonal or other 1-Lipschitz layers), "
            f"first of all here: {named}."
        )
    return tuple(steps)


def costliest(evidence: Evidence) -> tuple[Layer, ...]:
    """Layers by the factor they cost, largest first; those without any bound lead."""
    return tuple(sorted(evidence.layers, key=_cost, reverse=True))


def without_bound(evidence: Evidence) -> tuple[Layer, ...]:
    """Layers whose own gain is not bounded."""
    return tuple(layer for layer in evidence.layers if layer.upper.value is None)


def _radius_remarks(evidence: Evidence, robustness: Robustness) -> list[str]:
    if robustness.clean_accuracy.n == 0:
        return ["No sample was evaluated: nothing is known about the data set."]
    found: list[str] = []
    median = robustness.median_radius
    if not isinstance(median, float):
        return found
    if _in_pixels(evidence) and 0 < median < GREY_LEVEL:
        found.append(
            f"Median certified radius {radius_text(median)}: less than one grey level of one pixel "
            "(1/255). This certificate is of no practical use; the model was not trained for it."
        )
    elif median == 0:
        found.append("Median certified radius 0: for at least half of the samples nothing is certified.")
    elif robustness.curve and not any(point.certified_count for point in robustness.curve):
        found.append(f"No sample is certified at any asked radius (median radius {radius_text(median)}).")
    return found


def _is_assumed(evidence: Evidence) -> bool:
    """Whether the preprocessing is an assumption, and no finding says so."""
    told = any(finding.rule in _ASSUMED for finding in evidence.findings)
    return evidence.preprocessing.assumption is not None and not told


def _is_useless(evidence: Evidence) -> bool:
    robustness = evidence.robustness
    if robustness is None:
        return _is_loose(evidence)
    smallest = min(robustness.curve, key=lambda point: point.eps, default=None)
    if smallest is None or smallest.n == 0:
        return False
    return Fraction(smallest.certified_count, smallest.n) < Fraction(1, 10)


def _is_loose(evidence: Evidence) -> bool:
    return _slack(evidence) >= _LOOSE


def _slack(evidence: Evidence) -> float:
    slack = evidence.global_.slack
    return slack if isinstance(slack, float) else 0.0


def _in_pixels(evidence: Evidence) -> bool:
    return "[0,1]" in evidence.preprocessing.threat_space


def _cost(layer: Layer) -> float:
    return float("inf") if layer.upper.value is None else layer.upper.value


def _data_text(model: ModelRecord) -> str:
    """Which samples the network could be asked about."""
    known = _KNOWN_DATA.get((math.prod(model.input_shape), model.num_classes or 0))
    if known is None:
        return "Certify radii on data: --dataset npz:FILE, your samples with their labels."
    return f"Certify radii on data: --dataset {known}, or npz:FILE for your own samples."


def _missing_text(layer: Layer) -> str:
    why = f": {printable(layer.note)}" if layer.note else ""
    return f"Replace or remove {printable(layer.name)} ({printable(layer.op)}), which has no bound{why}."
