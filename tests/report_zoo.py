"""Reports of every kind, the odd ones above all: what each format has to take."""

from __future__ import annotations

import sample_report as sample

from lipaudit.bound import Bound, Estimate
from lipaudit.report.judgement import BudgetOutcome, LayerOutcome, PolicyRecord, Waiver
from lipaudit.report.model import Finding, NetworkBracket, SampleRecord
from lipaudit.report.number import Unbounded

HOSTILE = (
    "a|b`c`|",
    "`" * 3,
    "<img src=x onerror=alert(1)>",
    "</code></td><script>alert(1)</script>",
    "@octocat and #12 GH-3",
    "https://evil.example/x www.evil.example a@evil.example",
    "[click](javascript:alert(1)) ![x](//evil.example/y.png)",
    "two\nlines\r\n\n# heading\n- item",
    "\x1b[2J\x00\x07\x0b\u202e\u2028\ufffe\ufeff",
    "lone \udc80 and \ud800 surrogates",
    "::error file=x::forged ##[error]forged",
    "=1+1",
    "+1",
    "-1",
    "\t=cmd|' /C calc'!A0",
    "100% of , : ; \" ' & $x$ :tada: ~~a~~ __b__ \\",
    "Größe/卷积/ß[0].conv",
    " ",
    "x" * 3000,
    "`" * 3000,
    "&amp;&#64;&lt;",
)
"""Names that mean something to Markdown, XML, CSV, spreadsheets, terminals or a CI runner."""

POLICY = PolicyRecord(name="lipaudit.toml", sha256=sample.DIGEST, judged_on="2026-01-31")


def budget(outcome: str, **changes) -> BudgetOutcome:
    fields = {"id": f"a-{outcome}", "line": 7, "message": f"{outcome}: 15.25 proved, 20 allowed"}
    return sample.budget(outcome).model_copy(update=fields | changes)


def layered(**changes) -> BudgetOutcome:
    """A budget on single layers, of which one is fine, one waived and one is not."""
    rows = (
        LayerOutcome(layer="conv0", outcome="pass", upper=1.0, lower=0.5),
        LayerOutcome(layer="conv1", outcome="fail", upper=3.0, lower=2.0, waived=True),
        LayerOutcome(layer="conv2", outcome="inconclusive", upper=Unbounded()),
    )
    return budget("fail", id="per-layer", layers=rows, **changes)


def waiver(name: str, state: str = "used", reason: str = "known since May") -> Waiver:
    return Waiver(budget=name, reason=reason, owner="Ada", expires="2027-01-31", state=state, line=12)


def hostile():
    """Every name and text is hostile, each in its turn."""
    names = HOSTILE
    layers = tuple(
        sample.conv(k).model_copy(update={"name": sample.unknown(name).name, "op": sample.unknown(name).name})
        for k, name in enumerate(names)
    )
    findings = tuple(
        Finding(rule="LIP101", level=level, message=name, layer=name, advice=name)
        for name, level in zip(names, ("error", "warning", "note") * 7, strict=True)
    )
    budgets = tuple(
        BudgetOutcome(
            id=f"{k}{name}",
            metric="lipschitz",
            limit="20",
            outcome="fail",
            message=name,
            evidence={},
            line=k,
            waived=k % 2 == 0,
        )
        for k, name in enumerate(names)
    )
    waivers = tuple(
        Waiver(
            budget=b.id,
            layers=(b.message,),
            reason=b.message,
            owner=b.message,
            expires="2027-01-31",
            state="used",
        )
        for b in budgets
    )
    plain = sample.evidence()
    model = plain.model.model_validate(plain.model.model_dump() | {"name": "we[i]rd |`\udc80%,:/ größe.onnx"})
    policy = PolicyRecord(name="pol icy%:[x].toml", sha256=sample.DIGEST, judged_on="2026-01-31")
    return sample.report(
        "fail",
        layers=layers,
        findings=findings,
        budgets=budgets,
        waivers=waivers,
        policy=policy,
        model=model,
        limitations=tuple(finding.message for finding in findings),
        dataset=plain.dataset.model_copy(update={"name": "npz:[red]größe|`x.npz"}),
    )


def _samples(count: int) -> tuple[SampleRecord, ...]:
    rows = []
    for k in range(count):
        right, seen = k % 10 != 0, k % 100 != 50
        rows.append(
            SampleRecord(
                index=k,
                label=k % 10,
                predicted=(k % 10 if right else 3) if seen else None,
                margin=(k - 50) / 7 if seen else None,
                radius=k / count if right and seen else 0.0,
                correct=right and seen,
            )
        )
    return tuple(rows)


UNBOUNDED = NetworkBracket.of(Bound.unbounded("features.3: no rule for aten.foo"), Estimate(4.5, "ascent"))
CONSTANT = SampleRecord(index=3, label=1, predicted=1, margin=0.5, radius=Unbounded(), correct=True)

REPORTS = {
    **{verdict: sample.report(verdict) for verdict in ("pass", "incomplete")},
    "met": sample.report(budgets=(budget("pass"),), policy=POLICY),
    "fail": sample.report(
        "fail", budgets=(budget("pass"), budget("inconclusive"), budget("fail")), policy=POLICY
    ),
    "inconclusive": sample.report("inconclusive", budgets=(budget("inconclusive"),), policy=POLICY),
    "flags only": sample.report("fail", budgets=(budget("fail", line=None),)),
    "error findings": sample.report(
        "incomplete",
        layers=(*map(sample.conv, range(4)), sample.unknown()),
        global_=UNBOUNDED,
        findings=(sample.finding("note"), sample.finding("error"), sample.finding("warning")),
    ),
    "fail and incomplete": sample.report(
        "fail", findings=(sample.finding("error"),), budgets=(budget("fail"),), policy=POLICY
    ),
    "waived": sample.report(
        budgets=(budget("fail", waived=True), budget("inconclusive", waived=True)),
        waivers=(
            waiver("a-fail"),
            waiver("a-inconclusive", reason="it will be retrained"),
            waiver("gone", "unused"),
        ),
        policy=POLICY,
    ),
    "waived in part": sample.report(
        "fail", budgets=(layered(),), waivers=(waiver("per-layer"),), policy=POLICY
    ),
    "waived layers": sample.report(
        budgets=(layered(waived=True),), waivers=(waiver("per-layer"),), policy=POLICY
    ),
    "hostile": hostile(),
    "200 layers": sample.report(layers=tuple(map(sample.conv, range(200)))),
    "10,000 samples": sample.report(robustness=sample.robustness(samples=_samples(10_000))),
    "unbounded radii": sample.report(
        robustness=sample.robustness(samples=(CONSTANT,), median_radius=Unbounded())
    ),
    "samples not kept": sample.report(robustness=sample.robustness(samples=None)),
    "no sample": sample.report(
        "incomplete",
        robustness=sample.robustness(
            clean_accuracy={"count": 0, "n": 0}, curve=(sample.point("1", 0, n=0),), samples=()
        ),
    ),
    "no data": sample.report(dataset=None, robustness=None, falsification=None),
    "no layers": sample.report(layers=(), limitations=()),
}
