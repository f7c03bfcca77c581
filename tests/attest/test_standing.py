"""The verdict follows from the evidence; waivers end."""

import hashlib
import io
from datetime import date

import pytest
import sample_report as sample
import torch

from lipaudit.attest.standing import lapsed, standing, unfit
from lipaudit.load.checkpoint import read_checkpoint
from lipaudit.load.reading import Request
from lipaudit.policy.budget import worst
from lipaudit.report.inputs import AssumptionRecord
from lipaudit.report.judgement import LayerOutcome, Waiver
from lipaudit.report.number import Number

DAY = date(2026, 11, 29)


def waiver(expires, state="used", budget="lipschitz"):
    return Waiver(budget=budget, reason="known", owner="me", expires=expires, state=state)


def waived(outcome="fail"):
    return sample.budget(outcome).model_copy(update={"waived": True})


@pytest.mark.parametrize(
    ("outcomes", "level", "verdict"),
    [
        ((), None, ("pass", 0)),
        (("pass", "pass"), None, ("pass", 0)),
        (("pass", "fail"), None, ("fail", 1)),
        (("inconclusive", "pass"), None, ("inconclusive", 1)),
        (("inconclusive", "fail"), "error", ("fail", 1)),
        (("inconclusive",), "error", ("incomplete", 3)),
        (("pass",), "error", ("incomplete", 3)),
        (("pass",), "warning", ("pass", 0)),
    ],
)
def test_the_verdict_follows(outcomes, level, verdict):
    findings = () if level is None else (sample.finding(level),)
    evidence = sample.evidence(budgets=tuple(map(sample.budget, outcomes)), findings=findings)
    assert standing(evidence) == standing(evidence, DAY) == verdict


@pytest.mark.parametrize("bound", [Number.unbounded(), Number.not_analysed()])
@pytest.mark.parametrize(("outcome", "verdict"), [("pass", ("incomplete", 3)), ("fail", ("fail", 1))])
def test_nothing_follows_of_a_network_without_a_bound(bound, outcome, verdict):
    network = sample.evidence().global_.model_copy(update={"upper": bound})
    evidence = sample.evidence(global_=network, budgets=(sample.budget(outcome),))
    assert standing(evidence) == verdict


@pytest.mark.parametrize("outcome", ["fail", "inconclusive"])
def test_a_waiver_holds_through_its_last_day(outcome):
    evidence = sample.evidence(budgets=(waived(outcome),), waivers=(waiver("2026-11-29"),))
    assert standing(evidence) == standing(evidence, DAY) == ("pass", 0)
    assert lapsed(evidence, DAY) == ()
    assert standing(evidence, date(2026, 11, 30)) == (outcome, 1)
    assert lapsed(evidence, date(2026, 11, 30)) == evidence.waivers


@pytest.mark.parametrize(
    "told", [(), (waiver("2027-01-01", "expired"),), (waiver("2027-01-01", budget="b"),)]
)
def test_waived_without_a_waiver_counts(told):
    evidence = sample.evidence(budgets=(waived(),), waivers=told)
    assert standing(evidence) == standing(evidence, DAY) == ("fail", 1)


def test_one_waiver_in_force_is_enough():
    waivers = (waiver("2027-01-01"), waiver("2026-01-01"))
    assert standing(sample.evidence(budgets=(waived(),), waivers=waivers), DAY) == ("pass", 0)


def by_layer(*rows):
    """A budget on single layers that says it is waived, of pairs (layer, outcome)."""
    layers = tuple(LayerOutcome(layer=n, outcome=o, upper=2.0, waived=o != "pass") for n, o in rows)
    return waived(worst([o for _, o in rows])).model_copy(update={"layers": layers})


def of(*patterns, expires="2027-01-01"):
    return waiver(expires).model_copy(update={"layers": patterns})


@pytest.mark.parametrize(
    ("waivers", "covered"),
    [
        ([of("conv0")], False),
        ([of("conv1")], False),
        ([of("conv0", "conv1")], True),
        ([of("conv0"), of("conv1")], True),
        ([of("conv0"), of("conv1", expires="2026-01-01")], False),
        ([of("conv?")], True),
        ([of("conv[1-9]")], False),
        ([of("conv[0-9]")], False),
        ([of("conv9")], False),
        ([of("conv0"), waiver("2026-01-01")], False),
        ([of("conv0"), waiver("2027-01-01")], True),
    ],
)
def test_a_waiver_of_one_layer_excuses_no_other(waivers, covered):
    budget = by_layer(("conv0", "fail"), ("conv1", "inconclusive"), ("conv2", "pass"))
    evidence = sample.evidence(budgets=(budget,), waivers=tuple(waivers))
    assert standing(evidence, DAY) == (("pass", 0) if covered else ("fail", 1))


def test_brackets_in_a_waiver_are_themselves():
    named = {"conv[1]": "fail", "conv1": "fail"}
    layers = tuple(sample.conv(0).model_copy(update={"name": name}) for name in named)
    evidence = sample.evidence(budgets=(by_layer(*named.items()),), waivers=(of("conv[1]"),), layers=layers)
    assert standing(evidence) == ("fail", 1)


@pytest.mark.parametrize(
    "ended",
    [waiver("2026-01-01", "expired"), waiver("2026-01-01", "unused"), waiver("2026-01-01", budget="b")],
)
def test_waivers_that_nothing_rests_on_may_end(ended):
    evidence = sample.evidence(budgets=(waived(),), waivers=(ended, waiver("2027-01-01")))
    assert standing(evidence, DAY) == ("pass", 0)


def preprocessing(*, clear):
    assumption = AssumptionRecord(
        convention="pixels",
        correct=9,
        samples=10,
        runner_up=None,
        runner_up_correct=0,
        runner_up_samples=0,
        clear=clear,
    )
    return sample.evidence().preprocessing.model_copy(update={"assumption": assumption})


def model(**changes):
    return sample.evidence().model.model_copy(update=changes)


def test_what_may_be_signed():
    assert unfit(sample.evidence()) == ""
    assert unfit(sample.evidence(preprocessing=preprocessing(clear=True))) == ""
    assert unfit(sample.evidence(layers=(sample.unknown(),), findings=(sample.finding("error"),))) == ""
    allowed = "runs the --arch file; lets the pickle make a.B (--allow-global)"
    assert unfit(sample.evidence(model=model(trust=allowed))) == ""


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model": model(trust="runs the pickle sha256:00 (--trust-pickle)")}, "--trust-pickle"),
        ({"model": model(files=())}, "no file"),
        ({"preprocessing": preprocessing(clear=False)}, "assumed"),
        ({"findings": (sample.finding("error").model_copy(update={"rule": "LIP304"}),)}, "unknown"),
        ({"findings": (sample.finding("error").model_copy(update={"rule": "LIP307"}),)}, "interrupted"),
    ],
)
def test_what_may_not(changes, word):
    assert word in unfit(sample.evidence(**changes))


def test_a_pickle_that_ran_is_recognised_by_what_the_loader_says():
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2)}, buffer)
    digest = f"sha256:{hashlib.sha256(buffer.getvalue()).hexdigest()}"
    for trust, fit in ((None, True), (digest, False)):
        read = read_checkpoint(buffer.getvalue(), (), Request(name="m", trust_pickle=trust))
        assert (unfit(sample.evidence(model=model(trust=read.trust))) == "") == fit
