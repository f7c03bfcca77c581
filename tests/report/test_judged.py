"""How a judgement reads on the screen: file, outcomes, layers, waivers."""

import re

import pytest
import sample_report as sample

from lipaudit.report.html import to_html
from lipaudit.report.judged import OUTCOMES, judgement_text, policy_line, policy_rows
from lipaudit.report.judgement import BudgetOutcome, LayerOutcome, PolicyRecord, Waiver
from lipaudit.report.markdown import to_markdown
from lipaudit.report.sarif import to_sarif
from lipaudit.report.text import to_text, verdict_line

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


def rows(**changes):
    return list(policy_rows(sample.evidence(**changes)))


def named(name, outcome, *, waived=False):
    return sample.budget(outcome).model_copy(update={"id": name, "waived": waived})


def test_the_file_comes_first():
    file = "lipaudit.toml · sha256 0123456789ab · judged on 2026-06-01"
    assert policy_line(sample.evidence(policy=POLICY, budgets=(BUDGET,))) == file
    assert policy_line(sample.evidence(policy=POLICY)) == f"{file} · no budget set"
    assert policy_line(sample.evidence()) == "no budget set"
    assert policy_line(sample.evidence(budgets=(BUDGET,))) == ""


def test_what_keeps_a_verdict_comes_first():
    budgets = (
        named("a", "pass"),
        named("b", "fail", waived=True),
        named("c", "inconclusive"),
        named("d", "fail"),
        named("e", "pass"),
        named("f", "fail"),
    )
    found = [(word, story.partition(":")[0]) for word, story in rows(budgets=budgets)]
    assert found == [
        ("FAIL", "d"),
        ("FAIL", "f"),
        ("INCONCLUSIVE", "c"),
        ("WAIVED", "b (fail)"),
        ("PASS", "a"),
        ("PASS", "e"),
    ]
    assert list(dict(found)) == list(OUTCOMES)


def test_layers_that_do_not_pass_are_listed_and_then_counted():
    shown = rows(budgets=(BUDGET,))
    assert shown[0] == ("FAIL", "gap: 11 exceed it")
    assert shown[1] == ("", "fail at conv1 (waived): at most 3.0001 proved, 2.9999 witnessed")
    assert len(shown) == 1 + 8 + 1
    assert shown[-1] == ("", "… and at 3 more layers")


def test_what_is_waived_as_a_whole_does_not_say_so_at_each_layer():
    shown = rows(budgets=(BUDGET.model_copy(update={"waived": True}),))
    assert shown[:2] == [
        ("WAIVED", "gap (fail): 11 exceed it"),
        ("", "fail at conv1: at most 3.0001 proved, 2.9999 witnessed"),
    ]


def test_waivers_are_always_shown():
    """Those in use stand below their budget, the others at the end."""
    bare = BUDGET.model_copy(update={"layers": ()})
    shown = rows(budgets=(sample.budget(), bare), waivers=(WAIVER,))
    assert shown[1] == ("", r"waived at conv1 until 2027-01-31 by o: r\x1b[2J")
    for state in ("unused", "expired"):
        late = WAIVER.model_copy(update={"state": state})
        last = rows(budgets=(bare, sample.budget()), waivers=(late,))[-1]
        assert last == (state.upper(), "waiver of gap at conv1 until 2027-01-31 by o")


def test_the_screen_says_that_a_budget_is_waived():
    waived = sample.budget("fail").model_copy(update={"waived": True})
    screen = to_text(sample.report(budgets=(waived,), policy=POLICY))
    assert "WAIVED  lipschitz (fail): " in screen
    last = screen.splitlines()[-1]
    assert (
        last == "PASS with 1 budget waived (exit 0: every other budget passes and the analysis is complete)"
    )


def test_the_note_of_a_waiver_is_not_told_twice():
    note = sample.finding("note").model_copy(update={"rule": "LIP403", "advice": ""})
    for shown in (to_text, lambda report: judgement_text(report, 96)):
        fields = {"budgets": (BUDGET,), "findings": (note, sample.finding())}
        assert "LIP403" not in shown(sample.report("fail", waivers=(WAIVER,), **fields))
        late = WAIVER.model_copy(update={"state": "unused"})
        assert "LIP403" in shown(sample.report("fail", waivers=(late,), **fields))
        assert "LIP101" in shown(sample.report("fail", waivers=(WAIVER,), **fields))


@pytest.mark.parametrize("to", [to_markdown, to_html, to_sarif])
def test_no_format_says_that_every_budget_passes_where_one_is_waived(to):
    waived = sample.budget("fail").model_copy(update={"waived": True})
    assert "every budget passes" not in to(sample.report(budgets=(waived,)))
    assert "every budget passes" in to(sample.report())


def test_alone_the_verdict_names_the_budget_that_it_comes_from():
    budgets = (named("c", "inconclusive"), named("b", "fail", waived=True), named("d", "fail"))
    last = verdict_line(sample.report("fail", budgets=budgets), alone=True)
    assert last == (
        "FAIL: budget d and 1 more with 1 budget waived (exit 1: a budget fails, or stays inconclusive)"
    )
    hostile = sample.report("inconclusive", budgets=(named("\x1b[2J", "inconclusive"),))
    assert verdict_line(hostile, alone=True).startswith(r"INCONCLUSIVE: budget \x1b[2J (exit 1: ")
    for verdict in ("pass", "incomplete"):
        assert verdict_line(sample.report(verdict, budgets=budgets[:2]), alone=True).startswith(
            f"{verdict.upper()} with 1 budget waived (exit "
        )


def test_colour_adds_nothing_but_colour():
    report = sample.report("fail", budgets=(BUDGET, sample.budget()), waivers=(WAIVER,), policy=POLICY)
    coloured = judgement_text(report, 60, colour=True)
    assert "\x1b[1;31mFAIL\x1b[0m" in coloured
    assert "\x1b[1;32mPASS\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == judgement_text(report, 60)


def test_the_short_text_fits():
    report = sample.report(
        "fail", budgets=(BUDGET,), waivers=(WAIVER,), policy=POLICY, findings=(sample.finding(),)
    )
    for width in (60, 96):
        shown = judgement_text(report, width).splitlines()
        assert max(map(len, shown)) <= width
        assert shown[0].startswith("report     mnist_cnn.onnx")
        assert not any(line != line.rstrip() for line in shown)
