"""From the results of an audit to the report's records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from lipaudit.bound import Bound
from lipaudit.report.certificate import certificate_records
from lipaudit.report.inputs import (
    AssumptionRecord,
    Conversion,
    DatasetRecord,
    FileRecord,
    ModelRecord,
    PreprocessingRecord,
)
from lipaudit.report.model import (
    CurvePoint,
    Falsification,
    Finding,
    Layer,
    Robustness,
    SampleRecord,
    Tally,
)
from lipaudit.report.number import plain_down, round_down, round_up
from lipaudit.report.second_order import curvature_record
from lipaudit.report.tried import methods_tried

if TYPE_CHECKING:
    from lipaudit.analyze import Layer as Analysed
    from lipaudit.certify.curve import Point
    from lipaudit.certify.dataset import Certification
    from lipaudit.certify.falsify import Outcome
    from lipaudit.certify.variance import Spread
    from lipaudit.compose import NetworkBound
    from lipaudit.data import Dataset
    from lipaudit.data.conventions import Assumption
    from lipaudit.load import LoadedModel, Preprocessing

__all__ = [
    "assumption_findings",
    "data_findings",
    "dataset_record",
    "falsification_record",
    "layer_records",
    "model_record",
    "preprocessing_record",
    "robustness_record",
]


def model_record(name: str, model: LoadedModel, classes: int, logits: str | None = None) -> ModelRecord:
    """Which network, from which files."""
    check = model.conversion
    return ModelRecord(
        name=name,
        files=tuple(FileRecord(name=f.name, sha256=f.sha256, bytes=f.bytes) for f in model.files),
        format=model.format,
        loader=model.loader,
        trust=model.trust,
        architecture=model.architecture,
        weights_sha256=model.weights_sha256,
        conversion=None if check is None else Conversion(**check),
        input_shape=model.input_shape,
        num_classes=max(classes, 2),
        logits=logits,
    )


def preprocessing_record(
    space: str, layout: str | None, p: Preprocessing, assumption: Assumption | None
) -> PreprocessingRecord:
    """Where distances are measured, and what lies between there and the model."""
    return PreprocessingRecord(
        threat_space=space,
        layout=layout,
        scale=_exact_text(p.scale),
        mean=tuple(map(_exact_text, p.mean)),
        std=tuple(map(_exact_text, p.std)),
        source=p.source,
        assumption=None
        if assumption is None
        else AssumptionRecord(
            convention=assumption.name,
            correct=assumption.correct,
            samples=assumption.samples,
            runner_up=assumption.runner_up,
            runner_up_correct=assumption.runner_up_correct,
            runner_up_samples=assumption.runner_up_samples,
            clear=assumption.clear,
            plausible=assumption.plausible,
        ),
    )


def assumption_findings(assumption: Assumption | None) -> tuple[Finding, ...]:
    """An assumed preprocessing is said where it might as well be another."""
    if assumption is None:
        return ()
    state = f"state it: {assumption.flags}"
    if not assumption.plausible:
        tried = (
            f"the best of all usual conventions, {assumption.name}, answers {_share(assumption)} correctly"
        )
        return (
            Finding(rule="LIP304", level="error", message=f"preprocessing unknown: {tried}", advice=_SAY),
        )
    if assumption.clear:
        return ()
    message = (
        f"preprocessing assumed: {assumption.name} ({_share(assumption)} correct), but "
        f"{assumption.runner_up} ({assumption.runner_up_correct}/{assumption.runner_up_samples}) may be meant"
    )
    return (Finding(rule="LIP305", level="warning", message=message, advice=state),)


_SAY = (
    "state the preprocessing: --mean, --std, --scale, --layout; if it is none of that, check the labels, and "
    "that the file is a trained classifier of them"
)


def _share(assumption: Assumption) -> str:
    return f"{assumption.correct}/{assumption.samples}"


def _exact_text(value: Fraction) -> str:
    """A short decimal where it is exact, else the fraction."""
    decimal = f"{float(value):.12g}"
    return decimal if "e" not in decimal and Fraction(decimal) == value else str(value)


def dataset_record(dataset: Dataset, evaluated: int, limit: int | None, seed: int | None) -> DatasetRecord:
    """Which samples, and how many of them were evaluated."""
    return DatasetRecord(
        name=dataset.name,
        num_evaluated=evaluated,
        total=dataset.total,
        fingerprint_sha256=dataset.fingerprint_sha256,
        official=dataset.official,
        resize=dataset.sizing.resize,
        crop=dataset.sizing.crop,
        interpolation=dataset.sizing.interpolation,
        limit=limit,
        seed=seed,
        sample_shape=dataset.sample_shape,
    )


def layer_records(
    layers: Sequence[Analysed], bound: NetworkBound, spreads: Sequence[Spread]
) -> tuple[Layer, ...]:
    """One row per op, in graph order."""
    rows = []
    variances = {spread.name: spread.variance for spread in spreads}
    for layer in layers:
        value = bound.running[layer.node.name]
        running = Bound(value, "composition") if value < math.inf else Bound.unbounded("a layer has no bound")
        row = Layer.of(
            layer.node.name,
            layer.node.op.name,
            layer.upper,
            layer.lower,
            running,
            origin=layer.node.origin.location,
            shape=layer.node.shape,
        )
        variance = variances.get(layer.node.name)
        more = {
            "tried": methods_tried(layer.proofs),
            "certificates": certificate_records(layer.certificates, stored=True),
            "variance": None if variance is None else round_down(variance),
        }
        rows.append(row.model_copy(update=more))
    return tuple(rows)


def falsification_record(outcome: Outcome) -> Falsification | None:
    """What the attack did; None if it was not run."""
    if outcome.below is None or outcome.tried is None:
        return None
    return Falsification(
        lipschitz_ratio=round_down(outcome.below.value),
        attacked_samples=outcome.tried.samples,
        hits=outcome.tried.hits,
        steps=outcome.tried.steps,
    )


def data_findings(
    data: Dataset, run: Certification, classes: int, *, near_chance: bool, stated: bool
) -> tuple[Finding, ...]:
    """What makes an evaluation worthless.

    Args:
        data: the samples.
        run: what became of them.
        classes: how many scores the network gives.
        near_chance: whether guessing would do as well.
        stated: whether somebody stated the preprocessing.
    """
    broken = int((~run.radii.finite).sum())
    found = []
    if not data.in_pixels:
        found.append(
            Finding(
                rule="LIP303",
                level="warning",
                message=f"{data.range_text}: every distance and radius is in their unit, not in pixels of "
                "[0,1]",
                advice="store pixels as uint8 or in [0,1]"
                + (": the preprocessing that is stated begins there" if stated else _AND_STATE),
            )
        )
    if broken:
        found.append(
            Finding(
                rule="LIP302",
                level="error",
                message=f"{broken} of {len(run.labels)} samples give NaN or infinite outputs",
                advice="check the weights and the preprocessing",
            )
        )
    if near_chance:
        found.append(_no_better_than_chance(run, classes))
    return tuple(found)


_AND_STATE = ", and state the preprocessing with --mean and --std"


def _no_better_than_chance(run: Certification, classes: int) -> Finding:
    """With what is most likely the reason, as far as the answers tell."""
    labels, answers = run.labels.tolist(), run.radii.predicted.tolist()
    message = f"accuracy {int(run.radii.correct.sum())}/{len(labels)} is near chance"
    advice = (
        "labels or preprocessing are likely wrong (--mean, --std, --scale, --layout), or the file is not the "
        "trained model"
    )
    if len(set(answers)) == 1 and len(labels) > 1:
        message += f": every sample is answered with class {answers[0]}"
        advice = (
            "compare the model's file with its source: weights may be damaged or untrained; then check the "
            "preprocessing (--mean, --std, --scale, --layout) and the labels"
        )
    if max(answers, default=0) > max(labels, default=0):
        message += f": it gives {classes} scores, the labels end at {max(labels)}"
        advice = (
            "check that these scores are of these labels' classes (--logits NAME takes another output); a "
            "network that is no classifier is audited with --dataset none"
        )
    if len(set(labels)) == 1:
        message = message.partition(":")[0]
        message += ": all samples have one label, so that a constant answer does as well"
        advice = (
            "evaluate samples of every class; with --limit N, --seed S draws them from the whole data set"
        )
    return Finding(rule="LIP301", level="error", message=message, advice=advice)


def _margin(value: float) -> float | None:
    """Rounded down to the report's digits; null where the outputs are not finite."""
    if not math.isfinite(value):
        return None
    return round_down(value) if value >= 0 else -round_up(-value)


def robustness_record(run: Certification, curve: Sequence[Point], texts: dict[Fraction, str]) -> Robustness:
    """Counts, median and samples; `texts` spells each asked ε as the user did."""
    radii = run.radii
    n = len(run.labels)
    correct = int(radii.correct.sum())
    points = tuple(
        CurvePoint(
            eps=float(p.eps),
            eps_exact=texts[p.eps],
            certified_count=p.count,
            n=n,
            possible_count=correct,
        )
        for p in curve
    )
    columns = zip(
        *(t.tolist() for t in (run.indices, run.labels, radii.predicted, radii.margin, radii.radius)),
        radii.correct.tolist(),
        radii.finite.tolist(),
        strict=True,
    )
    samples = tuple(
        SampleRecord(
            index=index,
            label=label,
            predicted=predicted if finite else None,
            margin=_margin(margin),
            radius=plain_down(radius),
            correct=bool(right),
        )
        for index, label, predicted, margin, radius, right, finite in columns
    )
    ordered = sorted(radii.radius.tolist())
    return Robustness(
        clean_accuracy=Tally(count=correct, n=n),
        curve=points,
        median_radius=plain_down(ordered[(n - 1) // 2]) if ordered else None,
        method=run.how,
        samples=samples,
        curvature=curvature_record(run),
    )
