"""Hand-made reports of which the terminal screen is looked at, one per thing that it must be able to say."""

from __future__ import annotations

import sample_report as sample

from lipaudit.bound import Bound, Estimate
from lipaudit.report.inputs import DatasetRecord
from lipaudit.report.judgement import BudgetOutcome, LayerOutcome, PolicyRecord, Waiver
from lipaudit.report.model import Block, Finding, Layer, NetworkBracket
from lipaudit.report.number import Number

HOSTILE = "[bold]x[/bold] \x1b[2J Größe"


def op(name, kind, value, running, method="exact", origin="net.py:17", shape=(1, 64, 56, 56)):
    below = Estimate(value / 1.0002, "lanczos")
    return Layer.of(
        name, kind, Bound(value, method), below, Bound(running, "composition"), origin=origin, shape=shape
    )


def residual(stage, block, running):
    """The five layers of a residual block, and the block as a whole."""
    path = f"features.layer{stage}.{block}"
    gain = 1.2 + (7 * stage + block) % 11 / 10
    layers = [
        op(f"{path}.bn1", "conv2d", gain, running * gain),
        op(f"{path}.relu", "relu", 1.0, running * gain, "slope"),
        op(f"{path}.bn2", "conv2d", gain + 0.25, running * gain * 2),
        op(path, "add", 1.4142, running * 1.75, "sum"),
        op(f"{path}.relu:relu_{block}", "relu", 1.0, running * 1.75, "slope"),
    ]
    whole = Block(
        source="input",
        end=path,
        layers=tuple(layer.name for layer in layers[:4]),
        rule="semidefinite",
        upper=Number.from_bound(1.75),
        plain=Number.from_bound(1 + gain * (gain + 0.25)),
    )
    return layers, whole


def network(stages, blocks):
    """Fields of a residual network of 1 + 5·stages·blocks layers."""
    layers, wholes, running = [op("stem", "conv2d", 2.5, 2.5)], [], 2.5
    for stage in range(1, stages + 1):
        for block in range(blocks):
            more, whole = residual(stage, block, running)
            layers += more
            wholes.append(whole)
            running *= 1.75
    bracket = NetworkBracket.of(Bound(running, "composition"), Estimate(min(4.5, running), "ascent"))
    return {"layers": tuple(layers), "blocks": tuple(wholes), "global_": bracket}


def waived_policy():
    """A policy of which one budget is met, one is waived on one layer, and one waiver is of no use."""
    layers = (
        LayerOutcome(layer="conv2", outcome="inconclusive", upper=1.75, lower=None, waived=True),
        LayerOutcome(layer="conv3", outcome="fail", upper=1.9375, lower=1.875, waived=True),
        LayerOutcome(layer="conv0", outcome="pass", upper=1.5, lower=None),
        LayerOutcome(layer="conv1", outcome="pass", upper=1.625, lower=1.5),
    )
    gap = BudgetOutcome(
        id="gain",
        metric="lipschitz",
        limit="1.7",
        outcome="fail",
        message="conv3 exceeds 1.7, conv2 may",
        evidence={},
        layers=layers,
        waived=True,
        line=9,
    )
    waiver = Waiver(
        budget="gain",
        layers=("conv[23]",),
        reason="trained before the policy; the next release replaces them",
        owner="Ana Größe",
        expires="2027-01-31",
        state="used",
        line=17,
    )
    late = waiver.model_copy(update={"budget": "lipschitz", "layers": (), "state": "unused"})
    policy = PolicyRecord(name="lipaudit.toml", sha256=sample.DIGEST, judged_on="2026-01-31")
    return {"policy": policy, "budgets": (sample.budget(), gap), "waivers": (waiver, late)}


def interrupted():
    """Two of four layers, none of the samples."""
    nothing = Number.not_analysed()
    report = sample.report(
        "incomplete",
        layers=tuple(map(sample.conv, range(2))),
        global_=NetworkBracket(upper=nothing, lower=nothing, slack=None, method="none", note="cut short"),
        robustness=None,
        falsification=None,
        dataset=DatasetRecord(
            name="mnist:test", num_evaluated=0, total=10_000, fingerprint_sha256=sample.DIGEST, official=True
        ),
        findings=(
            Finding(
                rule="LIP307",
                level="error",
                message="interrupted while bounding layers: 2 of 4 layers bounded",
            ),
        ),
    )
    return report.model_copy(update={"exit_code": 130})


SCREENS = {
    "pass": sample.report(budgets=(sample.budget(),)),
    "lipschitz_only": sample.report(dataset=None, robustness=None, falsification=None),
    "fail": sample.report(
        "fail",
        budgets=(sample.budget("fail"), sample.budget("inconclusive").model_copy(update={"id": "other"})),
        findings=tuple(
            Finding(
                rule="LIP201",
                level="warning",
                message=f"conv2d amplifies: a witness exceeds 1 and reaches 1.{k}",
                layer=f"conv{k}",
                advice="normalise this layer by its true norm, not by a reshaped or estimated one",
            )
            for k in (1, 2)
        ),
    ),
    "incomplete": sample.report(
        "incomplete",
        layers=(sample.conv(1), sample.unknown(HOSTILE)),
        global_=NetworkBracket.of(Bound.unbounded("features.3: no rule for aten.foo.default"), None),
        findings=(sample.finding("error"), sample.finding("note")),
        robustness=sample.robustness(
            curve=(sample.point("36/255", 0),),
            median_radius=0.0,
        ),
        falsification=None,
    ),
    "interrupted": interrupted(),
    "useless": sample.report(
        global_=NetworkBracket.of(Bound(7.77e11, "product"), Estimate(32.0, "ascent")),
        robustness=sample.robustness(curve=(sample.point("36/255", 0),), median_radius=8.1e-4),
    ),
    "residual": sample.report(**network(2, 2)),
    "layers_200": sample.report(**network(4, 10)),
    "waived": sample.report(**waived_policy()),
}
