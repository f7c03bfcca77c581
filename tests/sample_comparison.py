"""Hand-made comparisons, for the tests of their formats."""

from __future__ import annotations

from itertools import accumulate

import sample_report as sample

from lipaudit.bound import Bound
from lipaudit.report.comparison.record import (
    Comparison,
    Costs,
    Machine,
    Measured,
    Problem,
    Proved,
    Row,
    Spread,
)
from lipaudit.report.model import Host, NetworkBracket, SampleRecord, Tally

RADII = ("36/255", "72/255", "1")
HOSTILE = 'x\x1b[31m|<b>`"=1\n::error::名'


def spread(median: float) -> Spread:
    return Spread(median=median, lower_quartile=median * 0.9, upper_quartile=median * 1.25, runs=21)


def measured(median: float, peak: int, **changes) -> Measured:
    fields = {"batch": 256, "dtype": "float32", "seconds": spread(median), "peak_bytes": peak, "how": "calls"}
    return Measured(**(fields | changes))


def robustness(step: float = 0.0125, n: int = 100):
    """Radii of 0, step, 2·step, …: a straight stair."""
    radii = list(accumulate([step] * (n - 2), initial=0.0))
    radii = [0.0, *radii]
    points = []
    for eps in RADII:
        size = sample.point(eps, 0, n=n).eps
        points.append(sample.point(eps, sum(r > size for r in radii), n - 1, n))
    return sample.robustness(
        clean_accuracy=Tally(count=n - 2, n=n),
        curve=tuple(p.model_copy(update={"possible_count": n - 2}) for p in points),
        median_radius=sorted(radii)[(n - 1) // 2],
        samples=tuple(
            SampleRecord(index=i, label=1, predicted=1 if r else 0, margin=r, radius=r, correct=r > 0)
            for i, r in enumerate(radii)
        ),
    )


def row(name: str, verdict: str = "pass", *, costs: Costs | None = None, **changes) -> Row:
    report = sample.report(verdict, **changes)
    return Row(
        name=name, exit_code=report.exit_code, proved=Proved.of(report), audit_seconds=12.5, costs=costs
    )


def refused(name: str = "bad.onnx", code: int = 4) -> Row:
    problem = Problem(exit_code=code, message=f"{name} is no model", hint="export it again")
    return Row(name=name, exit_code=code, proved=None, audit_seconds=None, costs=None, problem=problem)


def comparison(*rows: Row, exit_code: int = 0, training: bool = False, **changes) -> Comparison:
    fields = {
        "started": "2026-01-31T12:00:00+00:00",
        "exit_code": exit_code,
        "eps": RADII,
        "models": rows,
        "training": training,
        "machine": Machine(
            host=Host(platform="Linux x86_64", device="cpu", threads=2),
            accelerator="",
            versions={"lipaudit": "0.1.0", "torch": "2.14.1"},
        ),
    }
    return Comparison(**(fields | changes))


def costs(median: float, peak: int, parameters: int, *, training: float = 0.0, note: str = "") -> Costs:
    return Costs(
        parameters=parameters,
        forward=measured(median, peak),
        training=measured(training, 3 * peak, parameters=parameters) if training else None,
        notes=(note,) if note else (),
    )


LOOSE = NetworkBracket.of(Bound(571.25, "composition"), None)
NOTE = "training step: a file of format onnx holds the trained program, not the module that trains"
TWO = (
    row(
        "mnist_aol/model.safetensors",
        costs=costs(0.0123, 22_000_000, 487_050, training=0.2684),
        robustness=robustness(),
    ),
    row(
        "plain",
        costs=costs(0.2, 900_000_000, 11_173_962, note=NOTE),
        global_=LOOSE,
        robustness=robustness(0.002),
    ),
)
COMPARISONS = {
    "two": comparison(*TWO, training=True),
    "refused": comparison(TWO[0], refused(), exit_code=4),
    "lipschitz_only": comparison(
        row("a.onnx", dataset=None, robustness=None), row("b.onnx", dataset=None, robustness=None)
    ),
    "incomplete": comparison(
        *TWO,
        row(
            "a_network_with_a_very_long_name_that_nobody_would_type/epoch_100/model.onnx",
            "incomplete",
            findings=(sample.finding("error"),),
            robustness=robustness(),
        ),
        exit_code=3,
        training=True,
        notes=("SOURCE_DATE_EPOCH is set, so no clock was read and no time is told.",),
    ),
}
