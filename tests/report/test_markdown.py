"""Markdown, judged by GitHub's own renderer: every name is shown as it is and does nothing."""

import re
from html.parser import HTMLParser

import cmarkgfm
import pytest
import report_zoo as zoo
import sample_report as sample
from cmarkgfm.cmark import Options
from hypothesis import given
from hypothesis import strategies as st

from lipaudit.bound import Bound
from lipaudit.report.markdown import FEW, LAYERS, MOST, WORST, cut, to_markdown
from lipaudit.report.markdown_escape import LONGEST, code, line, prose
from lipaudit.report.number import Number
from lipaudit.report.wording import printable

OURS = {"h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "strong", "code"} | {
    "details",
    "summary",
}
BREAK = "\u200b"


class Page(HTMLParser):
    """Tags, attributes, and the text of each cell, item and code element."""

    def __init__(self, markdown):
        super().__init__()
        self.tags, self.attributes, self.open, self.texts = [], [], [], {}
        self.feed(cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data


def shown_in_table(text):
    """What a cell shows, and what surrounds it."""
    page = Page(f"| a | b |\n|---|---|\n| {text} | end |\n")
    first, last = page.texts["td"]
    assert last == "end"
    assert set(page.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    return first


TEXTS = st.one_of(
    st.text(max_size=60), st.text("|`\\<>&@#*_[]()!~$:. /awGH-1x", max_size=40), st.sampled_from(zoo.HOSTILE)
)


@given(TEXTS)
def test_code_shows_the_text_and_nothing_else(text):
    shown = shown_in_table(code(text)).replace(BREAK, "")
    wanted = printable(text)
    wanted = wanted if len(wanted) <= LONGEST else f"{wanted[: LONGEST - 1]}…"
    assert shown == (wanted or "(empty)") or shown.strip() == wanted.strip()


@given(TEXTS)
def test_prose_shows_the_text_and_nothing_else(text):
    shown = shown_in_table(f"x{prose(text)}x").replace(BREAK, "")
    wanted = printable(text)
    wanted = wanted if len(wanted) <= LONGEST else f"{wanted[: LONGEST - 1]}…"
    assert shown == f"x{wanted}x"


@given(TEXTS)
def test_a_line_is_no_block(text):
    page = Page(f"- {line(text)}\n- end\n")
    assert page.tags == ["ul", "li", "li"]


@given(TEXTS)
def test_nothing_is_left_to_be_linked(text):
    """GitHub links these by itself, after rendering, outside of code."""
    shown = shown_in_table(f"x {prose(text)} x")
    assert not re.search(r"@\w|#\d|://|www\.|:[\w+-]+:|\bGH-\d", shown, re.IGNORECASE)


@pytest.mark.parametrize("kind", zoo.REPORTS)
def test_the_page_is_made_of_our_elements(kind):
    text = to_markdown(zoo.REPORTS[kind])
    page = Page(text)
    assert set(page.tags) <= OURS
    assert page.attributes == []
    assert page.open == []
    assert page.tags.count("h2") == 1
    assert len(text.encode()) <= MOST
    waived = sum(budget.waived for budget in zoo.REPORTS[kind].evidence.budgets)
    told = f" with {waived} budget{'s' * (waived > 1)} waived" if waived else ""
    assert f"{zoo.REPORTS[kind].verdict.upper()}{told}, exit code" in text.replace("*", "")


@pytest.mark.parametrize("kind", zoo.REPORTS)
def test_tables_keep_their_columns(kind):
    for table in re.findall(r"(?:^\|.*\n)+", to_markdown(zoo.REPORTS[kind]), re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1


def test_the_plain_words_come_first():
    paragraphs = to_markdown(zoo.REPORTS["fail"]).split("\n\n")
    assert paragraphs[0] == "## lipaudit: FAIL for `mnist_cnn.onnx`"
    assert paragraphs[1].startswith("**FAIL**, exit code 1: a budget fails")
    assert "at most 15.25 · δ" in paragraphs[2]
    assert "amplified 4.5625 times" in paragraphs[3]
    assert "7012 (70.12 %) provably stay so" in paragraphs[4]


def test_without_a_bound_nothing_is_claimed():
    text = to_markdown(zoo.REPORTS["error findings"])
    assert "No finite Lipschitz bound of `mnist_cnn.onnx` was proved." in text
    assert "at most unbounded ·" not in text
    assert text.index("**error** LIP101") < text.index("**warning** LIP101") < text.index("**note** LIP101")


def test_no_data_is_not_zero():
    text = to_markdown(zoo.REPORTS["no data"])
    assert "Certified radii" not in text
    assert "0 of 0" not in text
    assert "No sample of `mnist:test` was evaluated." in to_markdown(zoo.REPORTS["no sample"])


def test_budgets_that_are_unmet_come_first_and_waivers_are_told():
    rows = re.findall(r"^\| (PASS|FAIL|INCONCLUSIVE)(.*?) \|", to_markdown(zoo.REPORTS["fail"]), re.MULTILINE)
    assert [row[0] for row in rows] == ["FAIL", "INCONCLUSIVE", "PASS"]
    text = to_markdown(zoo.REPORTS["waived"])
    assert "| FAIL (waived) | `a-fail` |" in text
    assert "Waiver (used) of `a-fail`, until 2027-01-31, by Ada: known since May" in text
    assert "Waiver (unused) of `gone`" in text
    assert "No budget is set." in to_markdown(zoo.REPORTS["pass"])


def test_layers_that_keep_a_budget_from_passing_are_named():
    assert "20 allowed (at `conv2`) |" in to_markdown(zoo.REPORTS["waived in part"])
    assert "20 allowed (at `conv1`, `conv2`) |" in to_markdown(zoo.REPORTS["waived layers"])


def test_long_lists_are_counted():
    assert "<summary>All 4 layers</summary>" in to_markdown(zoo.REPORTS["pass"])
    text = to_markdown(zoo.REPORTS["200 layers"])
    assert f"<summary>{LAYERS} of 200 layers</summary>" in text
    rows = re.findall(r"^\| `conv(\d+)`", text, re.MULTILINE)
    assert [int(k) for k in rows[:WORST]] == [199, 198, 197, 196, 195]
    assert [int(k) for k in rows[WORST:]] == list(range(200 - LAYERS, 200))
    many = sample.report(
        budgets=tuple(zoo.budget("pass", id=f"b{k}") for k in range(FEW + 1)),
        findings=(sample.finding(),) * (FEW + 2),
    )
    text = to_markdown(many)
    assert "… and 1 more budget: the JSON report has all." in text
    assert "… and 2 more findings: the JSON report has all." in text


@pytest.mark.parametrize("most", [0, 50, 100, 500, 1000, 3000, 10_000])
def test_cuts_are_whole_paragraphs(most):
    whole = to_markdown(zoo.REPORTS["fail"])
    text = cut(whole, most)
    assert len(text.encode()) <= most or text == whole
    if most >= len(whole.encode()):
        assert text == whole
        return
    page = Page(text)
    assert page.open == []
    assert text.count("<details>") == text.count("</details>")
    if text:
        assert text.endswith("as it is too long: the JSON report has all.\n")
        kept = text.rpartition("\n\n")[0].removesuffix("</details>").rstrip()
        assert whole.startswith(kept)


def test_no_line_is_a_command_of_a_runner():
    for report in zoo.REPORTS.values():
        assert not re.search(r"^\s*::|##\[", to_markdown(report), re.MULTILINE)


def costly(*uppers):
    """How often each layer is named before the folded table, and what stands there."""
    layers = []
    for k, upper in enumerate(uppers):
        ends = {"upper": Number.from_bound(Bound(upper, "m")), "lower": Number.not_analysed(), "slack": None}
        layers.append(sample.conv(k).model_copy(update=ends))
    shown, _, _ = to_markdown(sample.report(layers=tuple(layers))).partition("<details>")
    return [shown.count(f"`conv{k}`") for k in range(len(uppers))], shown


def test_layers_that_cost_nothing_are_not_called_costly():
    found, shown = costly(1, 1.000001, 3, 1, 2, 0.5, 1)
    assert found == [0, 0, 1, 0, 1, 0, 0]
    assert "The 2 that cost most:" in shown
    assert "The one that costs most:" in costly(1, 1, 3, 1, 1, 1)[1]
    assert "cost" not in costly(*[1] * 9)[1]
