"""Certified radii: do the samples of a report agree with each other, its counts and the bounds; and anew.

Without the data set a radius can only be held against the margin beside it:  radius ≤ margin / min_j L_yj,
or, where it is one of second order, radius ≤ √(2·margin / min_j K_yj), the most that curvature allows for
without a gradient (`second_order`).  With it, samples are drawn and evaluated again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor

from lipaudit.analyze import Layer
from lipaudit.attest.ledger import Ledger
from lipaudit.bound import Bound
from lipaudit.certify.agreement import check_answers
from lipaudit.certify.curvature import PATIENT, Curvature
from lipaudit.certify.curve import certified_counts
from lipaudit.certify.dataset import Certification, certify
from lipaudit.certify.pairwise import pair_constants
from lipaudit.compose import NetworkBound
from lipaudit.data import Dataset, check_labels, draw
from lipaudit.load import LoadedModel
from lipaudit.report.assemble import robustness_record
from lipaudit.report.exact import read_exact
from lipaudit.report.inputs import DatasetRecord
from lipaudit.report.model import Curvature as CurvatureRecord
from lipaudit.report.model import Evidence, Robustness, SampleRecord
from lipaudit.report.number import as_double, plain_down
from lipaudit.subject import Subject

__all__ = ["Again", "check_dataset", "check_samples", "recheck"]

NINTH = 1 + 1e-7
"""More than the nine digits of a margin leave open, and the directed roundings of a quotient."""
FILES = frozenset({"npz", "imagefolder"})
"""Data sets that are called as their file is, which may be another name here."""
NAMED = 8
"""Samples that are named one by one."""


@dataclass(frozen=True, slots=True)
class Again:
    """How many samples are evaluated again, and the seed of the draw."""

    count: int
    seed: int


def check_dataset(data: Dataset, record: DatasetRecord, ledger: Ledger) -> bool:
    """Whether these are the samples that were audited."""
    same = ledger.equal("dataset.fingerprint_sha256", record.fingerprint_sha256, data.fingerprint_sha256)
    same = ledger.equal("dataset.num_evaluated", record.num_evaluated, len(data)) and same
    same = ledger.equal("dataset.total", record.total, data.total) and same
    if record.name != data.name and _kind(record.name) == _kind(data.name) in FILES:
        ledger.unchecked.append(f"the data set's name: told is {record.name}, here it is called {data.name}")
    else:
        ledger.equal("dataset.name", record.name, data.name)
    ledger.equal("dataset.official", record.official, data.official)
    ledger.equal("dataset.sample_shape", record.sample_shape, data.sample_shape)
    if same:
        ledger.proved.append(f"the data set's fingerprint, over {len(data)} samples")
    return same


def _kind(name: str) -> str:
    """What a data set's name begins with."""
    return name.partition(":")[0]


def check_samples(
    subject: Subject, evidence: Evidence, proved: tuple[NetworkBound, Curvature | None], ledger: Ledger
) -> None:
    """Counts, order and arithmetic of the samples; their indices and labels, if they are at hand.

    Args:
        subject: with the data set, if that is at hand.
        evidence: what is claimed.
        proved: the network's bound and the curvature of its margins, proved again.
        ledger: is told of everything.

    Raises:
        InputRefused: if labels of the data set are none of the model's classes.
    """
    found, record = evidence.robustness, evidence.dataset
    if found is None or record is None:
        if found is not None or record is not None:
            ledger.differs("robustness", "radii or a data set, but not both", "both, or none")
        return
    if found.samples is None:
        ledger.unproved.append("radii and counts: the report does not hold its samples")
        return
    rows, before = found.samples, len(ledger.differences)
    (bound, bent), told = proved, found.curvature
    constants, how = pair_constants(subject.graph, bound)
    bending = told is not None and _check_curvature(told, bent, [row.index for row in rows], ledger)
    ledger.equal("robustness.method", found.method, how)
    ledger.equal("dataset.num_evaluated", record.num_evaluated, len(rows))
    expected = record.total if record.limit is None else min(record.limit, record.total)
    ledger.equal("dataset.num_evaluated (of total and limit)", record.num_evaluated, expected)
    indices = [row.index for row in rows]
    rising = all(a < b for a, b in pairwise(indices))
    if not rising or (indices and indices[-1] >= record.total):
        ledger.differs("robustness.samples", "indices", f"rising, each once, below {record.total}")
    if subject.samples is not None:
        _check_labels(subject.samples, subject.classes, rows, ledger)
    least = _least_constants(constants)
    curved = frozenset(told.indices) if told is not None and bending else frozenset()
    bends = [0.0 if bent is None or not bending else bent.least(k) for k in range(len(least))]
    limits = [(bends if row.index in curved else None) for row in rows]
    checked = ((row, _contradiction(row, least, limit)) for row, limit in zip(rows, limits, strict=True))
    wrong = [(row, why) for row, why in checked if why is not None]
    for row, why in wrong[:NAMED]:
        ledger.differs(f"robustness.samples (index {row.index})", _told(row), why)
    if len(wrong) > NAMED:
        ledger.differs("robustness.samples", f"{len(wrong)} samples", "they contradict themselves")
    if told is not None and bending:
        _check_margins(told, rows, least, ledger)
    _check_counts(found, rows, ledger)
    ledger.holds(
        before, f"counts and median follow from the {len(rows)} samples, whose radii fit margins and bounds"
    )


def _check_labels(data: Dataset, classes: int, rows: Sequence[SampleRecord], ledger: Ledger) -> None:
    """Whether the report's samples are those of the data set, each with its label."""
    check_labels(data, max(classes, 2))
    there = list(zip(data.indices.tolist(), data.labels.tolist(), strict=True))
    told = [(row.index, row.label) for row in rows]
    if len(told) != len(there):
        ledger.differs("robustness.samples", f"{len(told)} samples", f"{len(there)} samples")
        return
    wrong = [(a, b) for a, b in zip(told, there, strict=True) if a != b]
    for (index, label), (its_index, its_label) in wrong[:NAMED]:
        where = f"robustness.samples (index {index})"
        ledger.differs(where, f"label {label}", f"index {its_index} with label {its_label}")
    if len(wrong) > NAMED:
        ledger.differs("robustness.samples", f"{len(wrong)} samples", "they have another index or label")
    if not wrong:
        ledger.proved.append(f"indices and labels of the {len(rows)} samples are those of the data set")


def _least_constants(constants: Tensor) -> list[float]:
    """Per predicted class the smallest constant of a difference of logits."""
    if len(constants) == 1:
        return [float(constants)] * 2
    off = constants.clone().fill_diagonal_(math.inf)
    return [float(value) for value in off.amin(dim=1)]


def _check_curvature(
    told: CurvatureRecord, bent: Curvature | None, indices: Sequence[int], ledger: Ledger
) -> bool:
    """Whether radii of second order may be claimed at all: the network's curvature is proved again."""
    place, before = "robustness.curvature", len(ledger.differences)
    if bent is None:
        ledger.differs(place, f"of {told.layer}", None)
        return False
    activation = bent.net.activation
    ledger.equal(f"{place}.layer", told.layer, activation.name)
    ledger.equal(f"{place}.activation", told.activation, activation.op.name)
    ledger.equal(f"{place}.units", told.units, math.prod(activation.shape))
    ledger.at_least(f"{place}.norm", told.norm, Bound(bent.net.norm, "composition"))
    ledger.at_least(f"{place}.largest", told.largest, Bound.computed(bent.largest, "curvature"))
    if not frozenset(told.indices) <= frozenset(indices):
        ledger.differs(f"{place}.indices", "samples that the report does not hold", "samples of the report")
    ledger.holds(before, f"the curvature of the network's margins, at most {told.largest.value!r}")
    return len(ledger.differences) == before


def _check_margins(
    told: CurvatureRecord, rows: Sequence[SampleRecord], least: Sequence[float], ledger: Ledger
) -> None:
    """What margins alone are said to prove of samples with curvature: less, and no more than can be."""
    if told.by_margins is None:
        return
    there = {row.index: row for row in rows}
    for index, alone in zip(told.indices, told.by_margins, strict=True):
        row, place = there.get(index), f"robustness.curvature.by_margins (index {index})"
        if row is None or as_double(alone) >= as_double(row.radius):
            ledger.differs(place, as_double(alone), "less than the sample's radius")
            continue
        why = _contradiction(row.model_copy(update={"radius": alone}), least, None)
        if why is not None:
            ledger.differs(place, as_double(alone), why)


def _contradiction(row: SampleRecord, least: Sequence[float], bends: Sequence[float] | None) -> str | None:
    """Why a sample cannot be as it is told; None if it can.

    Args:
        row: the sample.
        least: per class the smallest constant of a difference of scores.
        bends: per class the smallest curvature, if the radius is one of second order.
    """
    radius = as_double(row.radius)
    rules = (
        (row.correct == (row.predicted == row.label), "correct means that the prediction is the label"),
        (row.margin is None or row.predicted is not None, "outputs that are not finite have no margin"),
        (all(0 <= c < len(least) for c in _classes(row)), f"there are {len(least)} classes"),
        (radius >= 0, "a radius is not negative"),
        (
            radius == 0 or (row.correct and (row.margin or 0) > 0),
            "without a correct answer and a margin a radius is 0",
        ),
    )
    broken = next((why for holds, why in rules if not holds), None)
    if broken is not None or row.predicted is None or not radius or least[row.predicted] == 0:
        return broken
    margin = row.margin or 0.0
    most = margin / least[row.predicted] * NINTH
    if bends is not None:
        bend = bends[row.predicted]
        most = max(most, math.sqrt(2 * margin / bend) * NINTH if bend > 0 else math.inf)
    return None if radius <= most else f"the margin allows for a radius of at most {most!r}"


def _classes(row: SampleRecord) -> list[int]:
    return [row.label] if row.predicted is None else [row.label, row.predicted]


def _check_counts(found: Robustness, rows: Sequence[SampleRecord], ledger: Ledger) -> None:
    """Everything that is counted from the samples."""
    correct, radii = sum(row.correct for row in rows), [as_double(row.radius) for row in rows]
    ledger.equal("robustness.clean_accuracy.count", found.clean_accuracy.count, correct)
    ledger.equal("robustness.clean_accuracy.n", found.clean_accuracy.n, len(rows))
    asked = [read_exact(point.eps_exact) for point in found.curve]
    for index, (point, counted) in enumerate(zip(found.curve, certified_counts(radii, asked), strict=True)):
        place = f"robustness.curve[{index}] (radius {point.eps_exact})"
        ledger.equal(f"{place}.certified_count", point.certified_count, counted.count)
        ledger.equal(f"{place}.n", point.n, counted.n)
        possible = correct if point.possible_count is None else point.possible_count
        if possible > correct:
            ledger.differs(f"{place}.possible_count", possible, correct)
        elif possible < correct:
            ledger.unchecked.append("what no method could exceed (possible_count) where attacks say it")
    median = sorted(radii)[(len(radii) - 1) // 2] if radii else None
    told = None if found.median_radius is None else as_double(found.median_radius)
    ledger.equal("robustness.median_radius", told, median)


def recheck(
    loaded: LoadedModel,
    subject: Subject,
    evidence: Evidence,
    proved: tuple[Sequence[Layer], NetworkBound, Curvature | None],
    again: Again,
    ledger: Ledger,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Evaluate drawn samples again and compare.

    Args:
        loaded: the model, whose original program is asked as well.
        subject: with the data set.
        evidence: what is claimed.
        proved: the layers, the network's bound and the curvature of its margins, proved again.
        again: how many samples, and which draw.
        ledger: is told of everything.
        advance: called with the number of samples evaluated.

    Raises:
        LipauditError: as for an audit.
    """
    data, found = subject.samples, evidence.robustness
    if data is None or found is None or found.samples is None:
        return
    rows = found.samples
    (layers, bound, bent), before = proved, len(ledger.differences)
    picks = draw(len(data), min(again.count, len(data)), again.seed)
    some = replace(data, images=data.images[picks], labels=data.labels[picks], indices=data.indices[picks])
    constants = pair_constants(subject.graph, bound)
    patient = None if bent is None or found.curvature is None else replace(bent, search=PATIENT)
    run = certify(
        subject.graph, layers, some, constants, lambda part: advance(len(part.radius)), bound.claims, patient
    )
    check_answers(run, some, subject.entrance, loaded.reference, subject.middle)
    _compare(run, [rows[int(i)] for i in picks], ledger)
    _compare_margins(run, {row.index: row for row in rows}, found.curvature, ledger)
    left, what = len(data) - len(picks), "radii, margins and predictions"
    drawn = f"{len(picks)} of {len(data)} samples, drawn with seed {again.seed}:" if left else "all"
    ledger.holds(before, f"{drawn} {what}, evaluated again")
    if left:
        ledger.unchecked.append(f"{what} of the other {left} of {len(data)} samples, which were not drawn")


def _compare(run: Certification, rows: Sequence[SampleRecord], ledger: Ledger) -> None:
    now = robustness_record(run, (), {}).samples or ()
    wrong = 0
    for told, found in zip(rows, now, strict=True):
        same = (told.predicted, told.correct) == (found.predicted, found.correct)
        margin = told.margin is None or (found.margin is not None and told.margin <= found.margin)
        if same and margin and as_double(told.radius) <= as_double(found.radius):
            continue
        wrong += 1
        if wrong <= NAMED:
            ledger.differs(f"robustness.samples (index {told.index})", _told(told), _told(found))
    if wrong > NAMED:
        ledger.differs("robustness.samples", f"{wrong} of {len(rows)} samples", "evaluated again they differ")


def _compare_margins(
    run: Certification, rows: Mapping[int, SampleRecord], told: CurvatureRecord | None, ledger: Ledger
) -> None:
    """Whether margins alone prove what they are said to."""
    if told is None:
        return
    alone = (None,) * len(told.indices) if told.by_margins is None else tuple(map(as_double, told.by_margins))
    claimed, wrong = dict(zip(told.indices, alone, strict=True)), 0
    for index, proved in zip(run.indices.tolist(), run.radii.plain.tolist(), strict=True):
        misstated = _misstated(rows[index], claimed, proved)
        wrong += misstated is not None
        if misstated is not None and wrong <= NAMED:
            field, said = misstated
            ledger.differs(f"robustness.curvature.{field} (index {index})", said, f"by margins {proved}")
    if wrong > NAMED:
        ledger.differs("robustness.curvature", f"{wrong} samples", "margins alone prove other radii of them")


def _misstated(
    row: SampleRecord, claimed: Mapping[int, float | None], proved: float
) -> tuple[str, str] | None:
    """Where it is not so, and what is said there; None if all is.

    Margins prove the whole radius of a sample that curvature is not named for; of the others less than that,
    but no less than they do: what curvature adds would look larger than it is.

    Args:
        row: the sample.
        claimed: by index, of samples that curvature is named for, what margins alone are said to prove, if
            that is told.
        proved: what they do.
    """
    radius = as_double(row.radius)
    if row.index not in claimed:
        return ("indices", f"by margins {radius}") if radius > proved else None
    if radius <= as_double(plain_down(proved)):
        return "indices", f"by curvature {radius}"
    said = claimed[row.index]
    if said is None or proved / NINTH <= said <= proved:
        return None
    return "by_margins", f"by margins {said}"


def _told(row: SampleRecord) -> str:
    return f"predicted {row.predicted}, margin {row.margin}, radius {as_double(row.radius)}"
