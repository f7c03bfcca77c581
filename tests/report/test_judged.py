"""How a judgement reads on the screen: file, outcomes, layers, waivers."""

import sample_report as sample

from lipaudit.report.judged import judgement_text, policy_lines
from lipaudit.report.judgement import BudgetOutcome, LayerOutcome, PolicyRecord, Waiver
from lipaudit.report.text import to_text

LAYERS = tuple(
    LayerOutcome(
        layer=f"conv{k}", outcome="fail" if k else "pass", upper=3.00001, lower=2.99999, waived=k == 1
    )
    for k in range(12)
)
BUDGET = BudgetOutcome(
    id="gap",
    metric="lipschitz",
    limit="2",
    outcome="fail",
    message="11 exceed it",
    evidence={},
    layers=LAYERS,
)
WAIVER = Waiver(
    budget="gap", layers=("conv1",), reason="r\x1b[2J", owner="o", expires="2027-01-31", state="used"
)
POLICY = PolicyRecord(name="lipaudit.toml", sha256=sample.DIGEST, judged_on="2026-06-01")


def lines(**changes):
    return [line.plain for line in policy_lines(sample.evidence(**changes))]


def test_the_file_comes_first():
    assert lines(policy=POLICY) == [
        "lipaudit.toml · sha256 0123456789ab · judged on 2026-06-01",
        "no budget set",
    ]


def test_layers_that_do_not_pass_are_listed_and_then_counted():
    shown = lines(budgets=(BUDGET,))
    assert shown[0] == "FAIL         gap: 11 exceed it"
    assert shown[1] == "  fail         conv1 (waived): at most 3.0001 proved, 2.9999 witnessed"
    assert len(shown) == 1 + 8 + 1
    assert shown[-1] == "  … and 3 more layers"


def test_waivers_are_always_shown():
    (line,) = lines(budgets=(BUDGET.model_copy(update={"layers": ()}),), waivers=(WAIVER,))[1:]
    assert line == r"WAIVED: gap at conv1, last day 2027-01-31 (o: r\x1b[2J)"
    states = [
        lines(budgets=(BUDGET,), waivers=(WAIVER.model_copy(update={"state": s}),))[-1]
        for s in ("unused", "expired")
    ]
    assert states[0].startswith("waiver unused: ")
    assert states[1].startswith("WAIVER EXPIRED: ")


def test_the_screen_says_that_a_budget_is_waived():
    waived = sample.budget("fail").model_copy(update={"waived": True})
    screen = to_text(sample.report(budgets=(waived,), policy=POLICY))
    assert "FAIL         lipschitz (waived): " in screen
    assert screen.splitlines()[-1].startswith("PASS with 1 budget waived (exit 0: ")


def test_the_short_text_fits():
    report = sample.report(
        "fail", budgets=(BUDGET,), waivers=(WAIVER,), policy=POLICY, findings=(sample.finding(),)
    )
    for width in (72, 96):
        shown = judgement_text(report, width).splitlines()
        assert max(map(len, shown)) <= width
        assert shown[0].startswith("report     mnist_cnn.onnx")
        assert not any(line != line.rstrip() for line in shown)
