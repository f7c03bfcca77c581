"""Hand-made reports, for the tests of report formats and of the command line."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import lipaudit
from lipaudit.bound import Bound, Estimate
from lipaudit.report.inputs import (
    Conversion,
    DatasetRecord,
    FileRecord,
    ModelRecord,
    PreprocessingRecord,
)
from lipaudit.report.judgement import BudgetOutcome
from lipaudit.report.model import (
    AuditReport,
    Block,
    CurvePoint,
    Evidence,
    Falsification,
    Finding,
    Host,
    Layer,
    MethodTried,
    NetworkBracket,
    Robustness,
    Run,
    SampleRecord,
    Tally,
)
from lipaudit.report.number import Number

PACKAGE = Path(lipaudit.__file__).parent
DIGEST = "0123456789abcdef" * 4
CODES = {"pass": 0, "fail": 1, "inconclusive": 1, "incomplete": 3}


def conv(k: int) -> Layer:
    value = 1.5 + k / 7
    running = Bound(1.5 ** (k + 1), "product")
    below = Estimate(value / 1.0001, "lanczos") if k % 3 else None
    return Layer.of(f"conv{k}", "conv2d", Bound(value, "embedding"), below, running, shape=(1, 8, 14, 14))


def unknown(name: str = "features.3") -> Layer:
    why = "no rule for aten.foo.default"
    return Layer.of(name, "aten.foo.default", Bound.unbounded(why), None, Bound.unbounded(why))


def point(eps: str, certified: int, possible: int | None = None, n: int = 10_000) -> CurvePoint:
    size = float(Fraction(eps))
    return CurvePoint(eps=size, eps_exact=eps, certified_count=certified, n=n, possible_count=possible)


def robustness(**changes) -> Robustness:
    fields = {
        "clean_accuracy": Tally(count=9812, n=10_000),
        "curve": (point("36/255", 7012, 9700), point("72/255", 312, 9400), point("1", 0, 4021)),
        "median_radius": 0.21,
        "method": "pairwise margins",
        "samples": (SampleRecord(index=0, label=7, predicted=7, margin=3.5, radius=0.25, correct=True),),
    }
    return Robustness(**(fields | changes))


def evidence(**changes) -> Evidence:
    fields = {
        "model": ModelRecord(
            name="mnist_cnn.onnx",
            files=(FileRecord(name="mnist_cnn.onnx", sha256=DIGEST, bytes=123_456),),
            format="onnx",
            loader="onnx2torch 1.5.15 + onnx 1.23",
            trust="data only",
            weights_sha256=DIGEST,
            conversion=Conversion(reference="onnxruntime 1.31", inputs=3, max_relative_difference=2.5e-7),
            input_shape=(1, 1, 28, 28),
            num_classes=10,
        ),
        "preprocessing": PreprocessingRecord(
            threat_space="pixel [0,1]",
            layout="chw",
            scale="1",
            mean=("0.1307",),
            std=("0.3081",),
            source="metadata",
        ),
        "global_": NetworkBracket.of(Bound(15.25, "product"), Estimate(4.5625, "ascent")),
        "layers": tuple(map(conv, range(4))),
        "dataset": DatasetRecord(
            name="mnist:test",
            num_evaluated=10_000,
            total=10_000,
            fingerprint_sha256=DIGEST,
            official=True,
        ),
        "robustness": robustness(),
        "falsification": Falsification(lipschitz_ratio=4.5625, attacked_samples=640, hits=0, steps=40),
        "limitations": ("Real arithmetic with the stored weights.",),
    }
    return Evidence(**(fields | changes))


def large_report(layers: int = 200, samples: int = 10_000) -> AuditReport:
    """A deep network with long names, parts proved as a whole, and as many radii as a test set has."""
    draw = random.Random(7)
    rows, running = [], 1.0
    for k in range(layers):
        value = draw.choice((1.0, draw.uniform(0.5, 3.0)))
        running *= value
        below = Estimate(value / draw.choice((1.0001, 1.05, 2.0)), "lanczos") if k % 7 else None
        name = f"backbone.stage{k // 25}.block{k % 25 // 3}.branch.conv{k}"
        product = Bound(running, "composition")
        row = Layer.of(name, "conv2d", Bound(value, "embedding"), below, product, shape=(1, 64, 56, 56))
        names = ("schur", "reshape", "two-way", "four-way", "exact", "embedding", "gram")
        tried = tuple(MethodTried(method=m, maps=1, upper=Number.from_bound(value * 1.1)) for m in names)
        rows.append(row.model_copy(update={"tried": tried, "variance": 50.0 / (k + 1)}))
    radii = [round(max(0.0, draw.gauss(0.4, 0.3)), 8) for _ in range(samples)]
    clean = sum(radius > 0 for radius in radii)
    certified = robustness(
        clean_accuracy=Tally(count=clean, n=samples),
        curve=tuple(
            point(eps, sum(radius > float(Fraction(eps)) for radius in radii), clean, samples)
            for eps in ("36/255", "72/255", "1")
        ),
        median_radius=sorted(radii)[(samples - 1) // 2],
        samples=tuple(
            SampleRecord(index=i, label=1, predicted=1 if r else 0, margin=r, radius=r, correct=r > 0)
            for i, r in enumerate(radii)
        ),
    )
    parts = tuple(
        Block(
            source=rows[k].name,
            end=rows[k + 4].name,
            layers=tuple(row.name for row in rows[k + 1 : k + 5]),
            rule="semidefinite",
            upper=Number.from_bound(1.25),
            plain=Number.from_bound(9.0),
        )
        for k in range(3, layers - 5, 20)
    )
    whole = NetworkBracket.of(Bound(running, "composition"), Estimate(0.5, "ascent"))
    return report(layers=tuple(rows), robustness=certified, blocks=parts, global_=whole)


def finding(level: str = "warning") -> Finding:
    return Finding(
        rule="LIP101",
        level=level,
        message="no rule for aten.foo.default: the bound stops here",
        layer="features.3",
        advice="replace it by a supported operation",
    )


def budget(outcome: str = "pass") -> BudgetOutcome:
    return BudgetOutcome(
        id="lipschitz",
        metric="lipschitz",
        limit="20",
        outcome=outcome,
        message="at most 15.25 proved, 20 allowed",
        evidence={"upper": 15.25, "lower": 4.5625},
    )


def report(verdict: str = "pass", **changes) -> AuditReport:
    return AuditReport(
        verdict=verdict,
        exit_code=CODES[verdict],
        evidence=evidence(**changes),
        run=Run(
            started="2026-01-31T12:00:00+00:00",
            seconds=12.5,
            stages={"spectral": 3.25, "certify": 9.25},
            versions={"lipaudit": "0.1.0"},
            host=Host(platform="Linux x86_64", device="cpu", threads=2),
            command={"limit": None, "eps": ("36/255",), "attack": True},
        ),
    )
