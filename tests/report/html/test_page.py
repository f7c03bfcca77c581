"""The page: one file that loads and runs nothing, whose numbers are the evidence's, whatever the names."""

import base64
import hashlib
import itertools
import re
import typing
from datetime import UTC, datetime

import pytest
import sample_report as sample
from html_page import Page
from pydantic import ValidationError

from lipaudit.bound import Bound, Estimate
from lipaudit.report.canonical import from_json, to_json
from lipaudit.report.explain import find
from lipaudit.report.html import to_html
from lipaudit.report.html.claim import tone
from lipaudit.report.inputs import AssumptionRecord
from lipaudit.report.judgement import (
    BaselineRecord,
    BudgetOutcome,
    LayerOutcome,
    Metric,
    PolicyRecord,
    Waiver,
)
from lipaudit.report.model import (
    AuditReport,
    BatchVariance,
    Block,
    Layer,
    MethodTried,
    NetworkBracket,
    SampleRecord,
    Tally,
)
from lipaudit.report.number import Number, Unbounded

UNBOUNDED = NetworkBracket.of(Bound.unbounded("features.3: no rule for aten.foo.default"))
HOSTILE = (
    "</title></style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&lt;\x1b[2J\u202e\ud800]]>"
)
HARMLESS = "a name"


def full_report() -> AuditReport:
    """Every field that holds a text is filled."""
    layer = sample.conv(1)
    tried = (
        MethodTried(method="exact", maps=1, upper=Number.from_bound(1.7)),
        MethodTried(method="dense", maps=0, upper=Number.not_analysed(), note="too large"),
    )
    layers = (
        sample.conv(0),
        layer.model_copy(update={"tried": tried, "variance": 3.5, "origin": "net.py:3"}),
    )
    part = Block(
        source="input",
        end="conv1",
        layers=("conv0", "conv1"),
        rule="sandwich",
        upper=Number.from_bound(1.25),
        plain=Number.from_bound(2.5),
    )
    row = LayerOutcome(layer="conv1", outcome="fail", upper=1.75, lower=1.5, waived=True)
    base = BaselineRecord(name="old.json", evidence_sha256=sample.DIGEST, value=16.0)
    failing = sample.budget("fail").model_copy(
        update={"id": "layers", "layers": (row,), "waived": True, "baseline": base, "line": 4}
    )
    share = BudgetOutcome(
        id="share",
        metric="certified_accuracy",
        limit="60%",
        eps="36/255",
        outcome="pass",
        message="enough",
        evidence={"certified_count": 7012, "possible_count": 9700, "n": 10_000},
    )
    waiver = Waiver(
        budget="layers",
        layers=("conv*",),
        reason="known",
        owner="Ada",
        expires="2027-01-31",
        state="used",
    )
    assumed = AssumptionRecord(
        convention="pixels as they are",
        correct=90,
        samples=100,
        runner_up="[-1, 1]",
        runner_up_correct=80,
        runner_up_samples=100,
        clear=True,
    )
    how = sample.evidence().preprocessing.model_copy(update={"assumption": assumed})
    model = sample.evidence().model.model_copy(update={"architecture": "net.py:make"})
    return sample.report(
        model=model,
        preprocessing=how,
        layers=layers,
        blocks=(part,),
        budgets=(failing, share),
        waivers=(waiver,),
        policy=PolicyRecord(name="lipaudit.toml", sha256=sample.DIGEST, judged_on="2026-02-01"),
        findings=(sample.finding(), sample.finding("note")),
        batch_variance=BatchVariance(samples=64, input=9.5, growth="conv0", constant=1.25),
    )


def incomplete(**changes):
    fields = {
        "layers": (sample.conv(0), sample.unknown(), sample.conv(2)),
        "global_": UNBOUNDED,
        "findings": (sample.finding("error"),),
        "falsification": None,
        "robustness": sample.robustness(curve=(sample.point("36/255", 0),), median_radius=0.0),
    }
    return sample.report("incomplete", **(fields | changes))


CONSTANT = sample.report(
    global_=NetworkBracket.of(Bound(0.0, "product"), Estimate(0.0, "ascent")),
    robustness=sample.robustness(
        clean_accuracy=Tally(count=1, n=1),
        curve=(sample.point("1", 1, 1, 1),),
        median_radius=Unbounded(),
        samples=(SampleRecord(index=0, label=1, predicted=1, margin=1.0, radius=Unbounded(), correct=True),),
    ),
)
EMPTY = sample.report(
    "incomplete",
    robustness=sample.robustness(
        clean_accuracy=Tally(count=0, n=0),
        curve=(sample.point("1", 0, 0, 0),),
        median_radius=None,
        samples=(),
    ),
)
REPORTS = {
    "pass": sample.report(budgets=(sample.budget(),)),
    "no budget": sample.report(),
    "no data": sample.report(dataset=None, robustness=None, falsification=None),
    "unbounded": incomplete(),
    "full": full_report(),
    "constant": CONSTANT,
    "no sample": EMPTY,
    "no layer": sample.report(layers=()),
    "one score": sample.report(model=sample.evidence().model.model_copy(update={"num_classes": None})),
    "large": sample.large_report(40, 700),
}
PAGES = {name: Page(to_html(report)) for name, report in REPORTS.items()}
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


# Nothing is loaded, nothing runs


@every_page
def test_nothing_is_loaded_and_nothing_runs(page):
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form", "base", "foreignobject", "use"}
    for tag, attributes in page.elements:
        assert not [
            name for name in attributes if name.startswith("on") or name in {"style", "src", "srcset"}
        ]
        if "href" in attributes:
            assert attributes["href"].startswith("#") or (tag == "link" and attributes["href"] == "data:,")


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_the_policy_admits_the_style_alone(report):
    text = to_html(report)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [m["content"] for m in Page(text).of("meta") if "http-equiv" in m]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    assert "unsafe" not in policy
    assert "url(" not in style
    assert "@import" not in style
    assert text.startswith("<!doctype html>\n")
    assert text.endswith("</html>\n")


# A page anybody can read


@every_page
def test_headings_landmarks_and_tables(page):
    assert page.of("html") == [{"lang": "en"}]
    assert all(len(page.of(tag)) == 1 for tag in ("h1", "main", "nav", "header", "footer"))
    assert [path for path, _ in page.texts].count(("html", "head", "title")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert len(page.of("caption")) == len(page.of("table"))
    assert all(attributes.get("scope") in {"col", "row"} for attributes in page.of("th"))


@every_page
def test_names_within_the_page(page):
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    for tag, attributes in page.elements:
        assert set(attributes.get("aria-labelledby", "").split()) <= set(names)
        if tag == "a":
            assert attributes["href"].removeprefix("#") in names


@every_page
def test_pictures_have_words(page):
    for attributes in page.of("svg"):
        if attributes.get("aria-hidden") != "true":
            assert attributes["role"] == "img"
            assert len(attributes["aria-labelledby"].split()) == 2
    assert all(a["tabindex"] == "0" for a in page.of("div") if a.get("class") == "scroll")


# The numbers


def test_the_claim_is_what_the_evidence_proves():
    text = PAGES["pass"].text()
    point = REPORTS["pass"].evidence.robustness.curve[0]
    assert (point.certified_count, point.n) == (7012, 10_000)
    assert (
        "Every change of an image by at most 36/255 ≈ 0.1412 in l2 distance leaves the correct answers to "
        "7,012 of 10,000 images as they are." in text
    )
    assert "differ by at most 15.25 times the distance of the inputs" in text
    assert "differ by at least 4.5625 times their distance, so the bound is at most 3.3425 times" in text


def test_numbers_are_rounded_in_the_safe_direction():
    bracket = NetworkBracket.of(Bound(2.000001, "product"), Estimate(1.999999, "ascent"))
    curve = (sample.point("1", 66_666, 99_999, 100_000),)
    robustness = sample.robustness(
        clean_accuracy=Tally(count=99_999, n=100_000), curve=curve, median_radius=1.99999
    )
    text = Page(to_html(sample.report(global_=bracket, robustness=robustness))).text()
    assert "at most 2.0001 times" in text
    assert "at least 1.9999 times" in text
    assert "66.66 %" in text
    assert "99.99 %" in text
    assert "100.00 %" in text  # what is possible at most, rounded up
    assert "a radius of 1.999 or more" in text


@pytest.mark.parametrize("name", ["pass", "full", "large"])
def test_every_layer_is_in_the_table(name):
    page, evidence = PAGES[name], REPORTS[name].evidence
    text = page.text()
    for layer in evidence.layers:
        assert layer.name in text
    rows = [a for a in page.of("th") if a.get("scope") == "row"]
    assert len(rows) >= len(evidence.layers)


def test_a_part_is_shown_with_what_it_bought():
    text = PAGES["full"].text()
    assert "input → conv1" in text
    assert "2 layers as one part" in text
    assert "2 ×" in text


def test_a_part_of_a_layer_says_where_the_layers_would_have_led():
    """1 at the input times 2.5, at the part's last layer."""
    assert "by layers ≤ 2.5" in PAGES["full"].text()


# Not analysed, unbounded, incomplete


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (REPORTS["pass"], "good"),
        (REPORTS["no budget"], "plain"),
        (sample.report("fail", budgets=(sample.budget("fail"),)), "bad"),
        (sample.report("inconclusive", budgets=(sample.budget("inconclusive"),)), "open"),
        (REPORTS["unbounded"], "open"),
        (sample.report(budgets=(sample.budget(),), global_=UNBOUNDED), "open"),
        (sample.report(budgets=(sample.budget("inconclusive"),)), "open"),
        (sample.report(budgets=(sample.budget(),), findings=(sample.finding("error"),)), "open"),
        (sample.report(budgets=(sample.budget(),), robustness=EMPTY.evidence.robustness), "open"),
        (
            sample.report(
                budgets=(sample.budget(),),
                falsification=sample.evidence().falsification.model_copy(update={"hits": 1}),
            ),
            "bad",
        ),
        (
            sample.report(budgets=(sample.budget("fail").model_copy(update={"waived": True}),)),
            "good",
        ),
    ],
)
def test_only_what_is_complete_and_met_is_green(report, expected):
    assert tone(report) == expected
    (body,) = Page(to_html(report)).of("body")
    assert body["class"] == f"tone-{expected}"


def test_unbounded_is_said_and_never_zero():
    text = PAGES["unbounded"].text()
    assert "INCOMPLETE: mnist_cnn.onnx" in text
    assert "No finite bound on the network was proved" in text
    assert "amplification at most unbounded witnessed ≥ —" in text
    assert "≤ unbounded" not in text
    assert "nobody tried to refute" in text


def test_without_data_nothing_is_said_about_answers():
    text = PAGES["no data"].text()
    assert "For any two inputs" in text.partition("says nothing about single answers")[0]
    assert "certified accuracy — no sample was evaluated" in text
    assert "0.00 %" not in text
    assert not [a for a in PAGES["no data"].of("svg") if a.get("role") == "img"]


def test_a_network_without_effect():
    text = PAGES["constant"].text()
    assert "output is constant" in text
    assert "median certified radius unbounded" in text


def test_a_report_without_layers_does_not_guess_why():
    assert "Layers" in PAGES["no layer"].text()
    assert "— No layer is listed." in PAGES["no layer"].text()


def test_waivers_are_always_shown():
    text = PAGES["full"].text()
    assert "Ada" in text
    assert "2027-01-31" in text
    assert "1 of 2 budgets met; 1 not met, but waived by a named owner." in text
    assert "✕ fail waived layers" in text


def of(metric, outcome="pass", *, waived=False):
    """A budget of one kind; which numbers it compares is nothing to the sentence."""
    changes = {"id": metric, "metric": metric, "evidence": {}, "waived": waived}
    return sample.budget(outcome).model_copy(update=changes)


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        (["lipschitz"], "The budget is met by proof, and the analysis is complete."),
        (["slack", "certified_accuracy"], "All 2 budgets are met by proof, and"),
        (["clean_accuracy"], "The budget is met by counting correct answers, and"),
        (["require"], "The budget is met as a condition on the audit, and"),
        (
            ["require", "clean_accuracy", "require", "lipschitz"],
            "All 4 budgets are met (1 by proof, 1 by counting correct answers, 2 as a condition on the",
        ),
    ],
)
def test_only_what_is_proved_is_met_by_proof(metrics, told):
    text = Page(to_html(sample.report(budgets=tuple(map(of, metrics))))).text()
    assert told in text
    assert ("met by proof" in text) == (set(metrics) <= {"lipschitz", "slack", "certified_accuracy"})


@pytest.mark.parametrize("metric", typing.get_args(Metric))
@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_only_what_can_be_proved_is_refuted_or_left_open_by_proof(metric, verdict):
    text = Page(to_html(sample.report(verdict, budgets=(of(metric, verdict), of("lipschitz"))))).text()
    by_proof = metric in {"lipschitz", "slack", "certified_accuracy"}
    assert ("no better proof could save it" in text) == (by_proof and verdict == "fail")
    assert ("neither proved nor refuted" in text) == (by_proof and verdict == "inconclusive")
    if not by_proof:
        kind = "answers" if metric == "clean_accuracy" else "A condition on the audit"
        assert kind in text
    both = sample.report(verdict, budgets=(of(metric, verdict), of("lipschitz", verdict)))
    said = {"fail": "no better proof could save it", "inconclusive": "neither proved nor refuted"}
    assert said[verdict] in Page(to_html(both)).text(), "the proof has the first word"


def test_what_is_waived_is_never_said_to_be_met():
    budgets = (of("lipschitz", "fail", waived=True), of("require"), of("clean_accuracy", "fail", waived=True))
    page = Page(to_html(sample.report(budgets=budgets)))
    text = page.text()
    assert "1 of 3 budgets met; 2 not met, but waived by a named owner." in text
    assert "exit code 0 with 2 budgets waived:" in text
    assert "budgets met 1 of 3 2 waived" in text
    assert text.count("✕ fail waived") == 2
    assert "by proof" not in text.partition("How to read")[0]
    (card, *_) = [a for a in page.of("li") if "waived" in (a.get("class") or "")]
    assert card["class"] == "card waived", "not the colour of what passes"


@pytest.mark.parametrize(("state", "badge"), [("used", "waived"), ("expired", "fail"), ("unused", "fail")])
def test_a_waiver_is_shown_whole(state, badge):
    waiver = Waiver(
        budget="gap",
        reason="why <b>",
        owner="Ada & co",
        expires="2027-01-31",
        state=state,
        layers=("conv*", "fc"),
    )
    whole = waiver.model_copy(update={"layers": ()})
    page = Page(to_html(sample.report(waivers=(waiver, whole))))
    cells = [text for path, text in page.texts if "tbody" in path and text.strip()]
    rest = ["why <b>", "Ada & co", "2027-01-31"]
    assert cells[:12] == ["gap", state, "conv*, fc", *rest, "gap", state, "the budget as a whole", *rest]
    assert "2 exceptions that somebody answers for" in page.text()
    assert [a["class"] for a in page.of("span") if badge in a.get("class", "")] == [f"badge {badge}"] * 2


def test_findings_are_explained():
    told = {finding.rule for finding in REPORTS["full"].evidence.findings}
    assert told
    assert all(find(rule).why in PAGES["full"].text() for rule in told)


# Foreign names


def texts_of(document, place=()):
    """Where a JSON document holds text."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from texts_of(value, (*place, key))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from texts_of(value, (*place, number))
    elif isinstance(document, str):
        yield place


def changed(document, place, text):
    """The same document with another text in one place."""
    if not place:
        return text
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[place[0]] = changed(copy[place[0]], place[1:], text)
    return copy


def renamed(text):
    """A full report in which every text that may be anything is `text`, and how many there are."""
    document = full_report().model_dump(mode="json", by_alias=True)
    count = 0
    for place in list(texts_of(document)):
        tried = changed(document, place, text)
        try:
            AuditReport.model_validate(tried)
        except ValidationError:
            continue
        document, count = tried, count + 1
    document["run"]["versions"] = {text: text, "lipaudit": text}
    document["run"]["stages"] = {text: 1.0}
    document["run"]["command"] = {text: text, "eps": [text]}
    document["evidence"]["model"]["name"] = text
    return AuditReport.model_validate(document), count


def test_a_stored_report_gives_the_same_page():
    report = full_report()
    run = report.run.model_copy(update={"versions": {"torch": "2.14.1", "onnx": "1.23.2", "lipaudit": "1"}})
    report = report.model_copy(update={"run": run})
    assert to_html(from_json(to_json(report))) == to_html(report)


def test_no_name_becomes_markup():
    hostile, count = renamed(HOSTILE)
    assert count > 40
    page, harmless = Page(to_html(hostile)), Page(to_html(renamed(HARMLESS)[0]))
    assert page.structure() == harmless.structure()
    assert "<script>alert(1)</script>" in page.text(), "shown as it is, as text"
    assert not {"\x1b", "\u202e"} & set(to_html(hostile))
    assert to_html(hostile).encode("utf-8")


# Size


def test_a_deep_network_and_a_large_test_set_fit():
    text = to_html(sample.large_report())
    assert len(text.encode("utf-8")) < 300_000
    page = Page(text)
    (curve, *_) = [a["d"] for a in page.of("path") if a.get("class") == "proved"]
    assert curve.count("H") <= 501


def test_endless_names_are_cut_in_charts_and_whole_in_the_table():
    name = "n" * 5_000
    layer = Layer.of(name, "conv2d", Bound(2.0, "embedding"), None, Bound(2.0, "product"))
    page = Page(to_html(sample.report(layers=(layer,))))
    heads = [data for path, data in page.texts if path[-1:] == ("th",) and "nnn" in data]
    assert sorted(map(len, heads)) == [123, 123, 5_000]


def test_a_thousand_findings_are_folded():
    page = Page(to_html(sample.report(findings=tuple(sample.finding() for _ in range(1000)))))
    assert "988 more" in page.text()


def test_the_day_is_that_of_the_run():
    day = datetime.fromisoformat(REPORTS["pass"].run.started).astimezone(UTC).date().isoformat()
    assert f"10,000 of 10,000 samples · {day}" in PAGES["pass"].text()


def test_a_layer_without_a_lower_end_is_not_zero():
    layer = Layer.of("only", "conv2d", Bound(2.0, "embedding"), None, Bound(2.0, "product"))
    assert "≤ 2 —" in re.sub(r"(≤ 2)(—)", r"\1 \2", Page(to_html(sample.report(layers=(layer,)))).text())


@pytest.mark.parametrize(
    ("metric", "value", "said"),
    [
        ("clean_accuracy", 0.57, "57.00 %"),
        ("certified_accuracy", 0.935, "93.50 %"),
        ("lipschitz", 0.5, "0.5"),
    ],
)
def test_a_baseline_says_a_share_as_everything_does(metric, value, said):
    base = BaselineRecord(name="base.json", evidence_sha256=sample.DIGEST, value=value)
    budget = sample.budget().model_copy(update={"metric": metric, "baseline": base, "evidence": {}})
    assert f"which said {said}." in to_html(sample.report(budgets=(budget,)))
