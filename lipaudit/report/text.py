"""The terminal screen: what an engineer reads first, as wide as the terminal, the verdict last.

Colour only repeats what a word says.  Every number is rounded in the safe direction (`wording`).
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lipaudit.errors import ExitCode
from lipaudit.report import advice, wording
from lipaudit.report.inputs import AssumptionRecord
from lipaudit.report.interruption import layers_text
from lipaudit.report.judged import STYLES, coloured, outcome_columns, policy_line, policy_rows, untold
from lipaudit.report.layer_rows import omission
from lipaudit.report.layer_table import layer_table
from lipaudit.report.model import AuditReport, Evidence, Robustness
from lipaudit.report.screen import LABEL, part, screen_lines
from lipaudit.report.second_order import margin_counts, radii_text
from lipaudit.report.structure import structure_lines
from lipaudit.report.variance import variance_lines

__all__ = ["NARROWEST", "WIDEST", "WIDTH", "to_text", "verdict_line"]

WIDTH = 96
"""Columns where nobody says how many there are: two windows side by side on most displays."""
NARROWEST, WIDEST = 60, 200
"""Below the one, tables cannot be read; beyond the other, lines cannot."""

_STYLE = {
    "error": "bold red",
    "warning": "yellow",
    "note": "",
}


def to_text(
    report: AuditReport,
    *,
    width: int = WIDTH,
    colour: bool = False,
    all_layers: bool = False,
    failed: ExitCode | None = None,
) -> str:
    """The whole screen as one string that ends with a newline.

    Args:
        report: what to show.
        width: columns; lines are folded to it.
        colour: whether to add ANSI styles.
        all_layers: whether every layer of a long network is shown.
        failed: as in `verdict_line`.
    """
    blocks = _blocks(report, report.evidence, width, all_layers=all_layers)
    lines = screen_lines(blocks, width=width, colour=colour)
    return "\n".join([*lines, verdict_line(report, colour=colour, failed=failed)]) + "\n"


def verdict_line(
    report: AuditReport, *, colour: bool = False, failed: ExitCode | None = None, alone: bool = False
) -> str:
    """The last line: the verdict, what had to be waived for it, and the exit code with its meaning.

    Args:
        report: the judged one.
        colour: whether to use it.
        failed: with what the program ends because the report could not be written: no verdict then.
        alone: whether nothing stands above it: then it names the budget that the verdict comes from.
    """
    if failed is not None:
        word = coloured("NOT WRITTEN") if colour else "NOT WRITTEN"
        return f"{word} (exit {failed.value}: {failed.meaning})"
    budgets = report.evidence.budgets
    word = report.verdict.upper()
    shown = coloured(word) if colour else word
    told = (_named(report) if alone else "") + wording.waived_words(budgets)
    return f"{shown}{told} (exit {report.exit_code}: {wording.code_words(report.exit_code, budgets)})"


def _named(report: AuditReport) -> str:
    """`: budget lipschitz and 1 more`, the first of those that the verdict comes from; empty if none is."""
    unmet = [budget for budget in report.evidence.budgets if not budget.is_met]
    decisive = next((budget for budget in unmet if budget.outcome == report.verdict), None)
    if decisive is None:
        return ""
    more = f" and {len(unmet) - 1} more" if len(unmet) > 1 else ""
    return f": budget {wording.printable(decisive.id)}{more}"


def _blocks(
    report: AuditReport, evidence: Evidence, width: int, *, all_layers: bool
) -> Iterable[RenderableType]:
    yield part("model", [_model_line(report)])
    yield part("source", [_source_line(evidence)])
    yield part("threat", [_threat_line(evidence)])
    yield Text()
    if evidence.layers:
        yield Group(*layer_table(evidence, width=width, all_layers=all_layers))
    if left_out := omission(evidence, all_layers=all_layers):
        yield Text(left_out)
    yield Text()
    yield part("structure", map(Text, structure_lines(evidence)))
    yield part("network", _network_lines(evidence))
    if evidence.robustness is not None:
        yield part("certified", _certified_lines(evidence.robustness))
        yield Padding(_curve_table(evidence.robustness), (0, 0, 0, LABEL))
    yield part("attack", [_attack_line(evidence), *map(Text, variance_lines(evidence))])
    yield part("reading", map(Text, advice.remarks(report)))
    yield part("findings", _finding_lines(evidence))
    yield part("limits", (Text(wording.printable(x)) for x in evidence.limitations))
    yield part("policy", _policy(evidence))
    yield part("next", map(Text, advice.next_steps(report)))
    yield Text()


def _policy(evidence: Evidence) -> Iterable[RenderableType]:
    """The file, and what became of the budgets; the word tells the outcome, colour repeats it."""
    if line := policy_line(evidence):
        yield Text(line)
    rows = list(policy_rows(evidence))
    grid = Table.grid(padding=(0, 0), expand=True)
    grid.add_column(width=outcome_columns(rows), no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for word, story in rows:
        grid.add_row(Text(word, style=STYLES.get(word, "")), Text(story))
    if rows:
        yield grid


def _model_line(report: AuditReport) -> Text:
    evidence = report.evidence
    model, data = evidence.model, evidence.dataset
    facts = [wording.printable(model.name), model.format, layers_text(evidence)]
    if model.num_classes is not None:
        facts.append(wording.plural(model.num_classes, "class", "classes"))
    if data is None:
        facts.append("no data set")
    else:
        facts.append(f"{wording.printable(data.name)} {data.num_evaluated} of {data.total}")
    facts.append(report.run.host.device)
    return Text(" · ".join(map(wording.printable, facts)))


def _threat_line(evidence: Evidence) -> Text:
    how = evidence.preprocessing
    facts = [f"l2 in {how.threat_space}", f"input {wording.shape_text(evidence.model.input_shape[1:])}"]
    for name, value, neutral in (
        ("scale", (how.scale,), ("1",)),
        ("mean", how.mean, ()),
        ("std", how.std, ()),
    ):
        if tuple(value) != neutral:
            facts.append(f"{name} {' '.join(value)}")
    if how.assumption is None:
        facts.append(_SOURCES.get(how.source, how.source))
    else:
        facts += _assumed(how.assumption)
    return Text(" · ".join(map(wording.printable, facts)))


def _assumed(found: AssumptionRecord) -> Iterable[str]:
    yield f"assumed: {found.convention} ({found.correct}/{found.samples} correct)"
    if found.runner_up is not None:
        yield f"next best: {found.runner_up} ({found.runner_up_correct}/{found.runner_up_samples})"


_SOURCES = {
    "flags": "as the flags say",
    "metadata": "as the model's metadata say",
    "flags and metadata": "as flags and metadata say",
    "default": "no preprocessing stated, none done",
}


def _source_line(evidence: Evidence) -> Text:
    """What read the model, whether that ran code, and how the conversion was checked."""
    model = evidence.model
    facts = [model.loader, model.trust]
    if model.conversion is not None:
        facts.append(
            f"equals {model.conversion.reference} on {wording.plural(model.conversion.inputs, 'input')}"
        )
    return Text(" · ".join(map(wording.printable, facts)))


def _network_lines(evidence: Evidence) -> Iterable[Text]:
    bracket = evidence.global_
    if bracket.upper.status == "not_analysed":
        yield Text(f"l2 Lipschitz constant {wording.NOT_ANALYSED} (not analysed)", style="bold")
    elif bracket.upper.value is None:
        yield Text("no finite l2 Lipschitz bound", style="bold red")
    else:
        line = Text("l2 Lipschitz constant ≤ ")
        line.append(wording.bound_text(bracket.upper), style="bold")
        yield line.append(f"  ({wording.printable(bracket.method)})")
    witnessed = wording.estimate_text(bracket.lower)
    if bracket.lower.value is None:
        yield Text(f"from below: {witnessed} (not analysed)")
    else:
        yield Text(f"witnessed ≥ {witnessed} · slack {wording.slack_text(bracket.slack)}")
    if bracket.note:
        yield Text(wording.printable(bracket.note))


def _certified_lines(robustness: Robustness) -> Iterable[Text]:
    yield Text(
        f"median radius {wording.radius_text(robustness.median_radius)} · "
        f"{radii_text(robustness)} · {robustness.arithmetic} arithmetic"
    )


def _curve_table(robustness: Robustness) -> Table:
    witnessed = any(point.possible_count is not None for point in robustness.curve)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("radius")
    alone = margin_counts(robustness)
    extra = [*(["at most"] if witnessed else []), *([] if alone is None else ["by margins"])]
    for title in ("certified", "of", "share", *extra):
        table.add_column(title, justify="right")
    clean = robustness.clean_accuracy
    share = wording.percent_down(clean.count, clean.n)
    table.add_row(Text("0 (clean accuracy)"), Text(str(clean.count)), Text(str(clean.n)), Text(share))
    for number, point in enumerate(robustness.curve):
        cells = [
            wording.eps_text(point.eps_exact),
            str(point.certified_count),
            str(point.n),
            wording.percent_down(point.certified_count, point.n),
        ]
        if witnessed:
            top = point.possible_count
            cells.append(wording.NOT_ANALYSED if top is None else str(top))
        if alone is not None:
            cells.append(str(alone[number]))
        table.add_row(*map(Text, cells))
    return table


def _attack_line(evidence: Evidence) -> Text:
    tried = evidence.falsification
    if tried is None:
        return Text(f"{wording.NOT_ANALYSED} (no attack was run)")
    facts = []
    if tried.attacked_samples:
        hits = "no counterexample" if tried.hits == 0 else wording.plural(tried.hits, "COUNTEREXAMPLE")
        samples = wording.plural(tried.attacked_samples, "sample")
        facts.append(f"{hits} inside the radii of {samples}, {wording.plural(tried.steps, 'step')} each")
    if tried.lipschitz_ratio is not None:
        facts.append(f"largest ratio seen {wording.shown_down(tried.lipschitz_ratio)}")
    return Text(" · ".join(facts) or "nothing to attack")


def _finding_lines(evidence: Evidence) -> Iterable[Text]:
    advised: set[str] = set()
    findings = untold(evidence)
    last = {finding.rule: number for number, finding in enumerate(findings)}
    for number, finding in enumerate(findings):
        line = Text(f"{finding.level} {finding.rule}", style=_STYLE[finding.level])
        where = f" [{wording.printable(finding.layer)}]" if finding.layer else ""
        yield line.append(f"{where} {wording.printable(finding.message)}", style="not bold default")
        if finding.advice and finding.advice not in advised:
            advised.add(finding.advice)
            yield Text(f"  → {wording.printable(finding.advice)}")
        if last[finding.rule] == number:
            yield Text(f"  more: lipaudit explain {finding.rule}")
