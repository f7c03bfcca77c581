"""Markdown for pull requests and wikis: what was proved in plain words first, tables after it.

It fits into a comment on GitHub: what is long is cut to what matters most, with a line that counts the rest.
Foreign text goes through `markdown_escape`, numbers through `wording`, rounded in the safe direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lipaudit.errors import ExitCode
from lipaudit.report import advice, wording
from lipaudit.report.counts import headline_point
from lipaudit.report.judgement import BudgetOutcome, Waiver
from lipaudit.report.markdown_escape import code, line, prose
from lipaudit.report.model import AuditReport, Evidence, Finding, Layer, Robustness
from lipaudit.report.problems import unmet_layers
from lipaudit.report.remedies import amplifies
from lipaudit.report.second_order import margin_counts, radii_text

__all__ = ["MOST", "cut", "to_markdown"]

MOST = 65_000
"""Bytes; comments on GitHub end at 65,536 characters."""
WORST = 5
"""Layers that are shown before the folded table."""
LAYERS = 120
"""Rows of the folded table: in the network's order, or else those that cost most."""
FEW = 25
"""Of findings, budgets, waivers, radii, files: those that come first."""

_LEVELS = ("error", "warning", "note")


def to_markdown(report: AuditReport, *, failed: ExitCode | None = None) -> str:
    """The whole document; paragraphs and tables are separated by one empty line.

    Args:
        report: the judged one.
        failed: with what the program ends because a report could not be written: no verdict then.
    """
    evidence = report.evidence
    budgets = evidence.budgets if failed is None else ()
    ends = report.exit_code if failed is None else failed.value
    word = report.verdict.upper() if failed is None else "NOT WRITTEN"
    waived, meaning = wording.waived_words(budgets), wording.code_words(ends, budgets)
    parts = [
        f"## lipaudit: {word} for {code(evidence.model.name)}",
        f"**{word}**{waived}, exit code {ends}: {meaning}.",
        *_claims(evidence),
        *map(_remark, advice.remarks(report)),
        *_titled("Budgets", _budgets(evidence)),
        *_titled("Findings", _findings(evidence)),
        *_titled("Network", [_network(evidence)]),
        *_titled("Certified radii", _certified(evidence.robustness)),
        *_titled("Layers", _layers(evidence)),
        *_titled("Next", [_bullets(map(line, advice.next_steps(report)))]),
        *_titled("Limits", [_bullets(map(line, evidence.limitations))]),
        _folded("Provenance", _table(("", ""), _provenance(report))),
    ]
    return cut("\n\n".join(part for part in parts if part) + "\n", MOST)


def cut(text: str, most: int) -> str:
    """At most `most` bytes of UTF-8: whole paragraphs, folds closed, and a sentence that says so.

    Nothing, if not even that sentence has room.
    """
    if len(text.encode()) <= most:
        return text
    end = "\n\nThe rest is left out here, as it is too long: the JSON report has all.\n"
    kept: list[str] = []
    left = most - len(end.encode())
    if left < 0:
        return ""
    for part in text.split("\n\n"):
        left -= len(f"{part}\n\n</details>".encode())
        if left < 0:
            break
        kept.append(part)
    open_folds = sum(part.count("<details>") - part.count("</details>") for part in kept)
    return "\n\n".join([*kept, *["</details>"] * open_folds]) + end


def _remark(text: str) -> str:
    return f"Note: {prose(text)}"


def _claims(evidence: Evidence) -> Iterator[str]:
    """What the numbers say, as sentences."""
    bracket, space = evidence.global_, prose(evidence.preprocessing.threat_space)
    name = code(evidence.model.name)
    if bracket.upper.value is None:
        yield f"No finite Lipschitz bound of {name} was proved."
    else:
        yield (
            f"Proved: when the input of {name} changes by an l2 distance of δ (in {space}), its output "
            f"changes by at most {wording.bound_text(bracket.upper)} · δ."
        )
    if bracket.lower.value is not None:
        seen = wording.estimate_text(bracket.lower)
        yield f"Witnessed: some change of the input is amplified {seen} times."
    if evidence.robustness is not None and evidence.dataset is not None:
        yield _certified_claim(evidence, evidence.robustness, evidence.dataset.name)


def _certified_claim(evidence: Evidence, robustness: Robustness, data: str) -> str:
    clean, space = robustness.clean_accuracy, prose(evidence.preprocessing.threat_space)
    if clean.n == 0:
        return f"No sample of {code(data)} was evaluated."
    said = f"Of {clean.n} samples of {code(data)}, {clean.count} are classified correctly"
    point = headline_point(evidence)
    if point is None:
        return f"{said}."
    share = wording.percent_down(point.certified_count, point.n)
    eps = prose(wording.eps_text(point.eps_exact))
    return (
        f"{said}, and {point.certified_count} ({share}) provably stay so under every change of l2 size "
        f"at most {eps} (in {space})."
    )


def _network(evidence: Evidence) -> str:
    bracket = evidence.global_
    row = (
        wording.bound_text(bracket.upper),
        wording.estimate_text(bracket.lower),
        wording.slack_text(bracket.slack),
        prose(bracket.method) + (f": {prose(bracket.note)}" if bracket.note else ""),
    )
    return _table(("l2 Lipschitz constant at most", "at least", "slack", "method"), [row])


def _certified(robustness: Robustness | None) -> Iterator[str]:
    if robustness is None:
        return
    clean, alone = robustness.clean_accuracy, margin_counts(robustness)
    head = ["0 (clean accuracy)", str(clean.count), str(clean.n), wording.percent_down(clean.count, clean.n)]
    columns = ["possible at most", *([] if alone is None else ["by margins"])]
    rows = [[*head, *("" for _ in columns)]]
    for number, point in enumerate(robustness.curve[:FEW]):
        top = wording.NOT_ANALYSED if point.possible_count is None else str(point.possible_count)
        share = wording.percent_down(point.certified_count, point.n)
        eps = prose(wording.eps_text(point.eps_exact))
        row = [eps, str(point.certified_count), str(point.n), share, top]
        rows.append(row if alone is None else [*row, str(alone[number])])
    yield _table(("radius", "certified", "of", "share", *columns), rows)
    yield _rest(len(robustness.curve) - FEW, "more radius", "more radii")
    yield (
        f"Median certified radius: {wording.radius_text(robustness.median_radius)}; "
        f"{prose(radii_text(robustness))}; {robustness.arithmetic} arithmetic."
    )


def _budgets(evidence: Evidence) -> Iterator[str]:
    if not evidence.budgets:
        yield "No budget is set."
        return
    unmet_first = sorted(evidence.budgets, key=_rank)
    yield _table(("outcome", "budget", "what was found"), map(_budget_row, unmet_first[:FEW]))
    yield _rest(len(evidence.budgets) - FEW, "more budget")
    yield _bullets(map(_waiver_line, evidence.waivers[:FEW]))
    yield _rest(len(evidence.waivers) - FEW, "more waiver")


def _rank(budget: BudgetOutcome) -> int:
    """fail, inconclusive, waived, pass."""
    return 2 if budget.waived else ("fail", "inconclusive", "waived", "pass").index(budget.outcome)


def _budget_row(budget: BudgetOutcome) -> tuple[str, ...]:
    waived = " (waived)" if budget.waived else ""
    unmet = unmet_layers(budget)
    more = f" and {len(unmet) - WORST} more" if len(unmet) > WORST else ""
    where = f" (at {', '.join(map(code, unmet[:WORST]))}{more})" if unmet else ""
    return f"{budget.outcome.upper()}{waived}", code(budget.id), f"{prose(budget.message)}{where}"


def _waiver_line(waiver: Waiver) -> str:
    layers = f", layers {', '.join(map(code, waiver.layers[:FEW]))}" if waiver.layers else ""
    more = f" and {len(waiver.layers) - FEW} more" if len(waiver.layers) > FEW else ""
    return (
        f"Waiver ({waiver.state}) of {code(waiver.budget)}{layers}{more}, until {waiver.expires}, by "
        f"{prose(waiver.owner)}: {prose(waiver.reason)}"
    )


def _findings(evidence: Evidence) -> Iterator[str]:
    worst_first = sorted(evidence.findings, key=lambda finding: _LEVELS.index(finding.level))
    yield _bullets(map(_finding_line, worst_first[:FEW]))
    yield _rest(len(evidence.findings) - FEW, "more finding")


def _finding_line(finding: Finding) -> str:
    where = f" in {code(finding.layer)}" if finding.layer else ""
    then = f" → {prose(finding.advice)}" if finding.advice else ""
    return f"**{finding.level}** {finding.rule}{where}: {prose(finding.message)}{then}"


def _layers(evidence: Evidence) -> Iterator[str]:
    worst = advice.costliest(evidence)
    if not worst:
        return
    shown = evidence.layers
    if len(shown) > LAYERS:
        kept = {id(layer) for layer in worst[:LAYERS]}
        shown = tuple(layer for layer in evidence.layers if id(layer) in kept)
    every = wording.plural(len(worst), "layer")
    title = f"All {every}" if len(shown) == len(worst) else f"{len(shown)} of {every}"
    amplifying = [layer for layer in worst if amplifies(layer.upper.value)][:WORST]
    if len(worst) > WORST and amplifying:
        several = len(amplifying) > 1
        yield f"The {len(amplifying)} that cost most:" if several else "The one that costs most:"
        yield _layer_table(amplifying)
    yield _folded(title, _layer_table(shown))


def _layer_table(layers: Iterable[Layer]) -> str:
    rows = (
        (
            code(layer.name),
            prose(layer.op),
            wording.estimate_text(layer.lower),
            wording.bound_text(layer.upper),
            wording.bound_text(layer.running),
            prose(layer.method),
        )
        for layer in layers
    )
    return _table(("layer", "op", "at least", "at most", "input to here at most", "method"), rows)


def _provenance(report: AuditReport) -> Iterator[tuple[str, str]]:
    evidence, model = report.evidence, report.evidence.model
    for file in model.files[:FEW]:
        yield "file", f"{code(file.name)}, {wording.plural(file.bytes, 'byte')}, SHA-256 {code(file.sha256)}"
    if len(model.files) > FEW:
        yield "file", f"… and {len(model.files) - FEW} more"
    yield "weights SHA-256", code(model.weights_sha256)
    yield "loaded by", f"{prose(model.loader)}; {prose(model.trust)}"
    if model.conversion is not None:
        inputs = wording.plural(model.conversion.inputs, "input")
        yield "compared with", f"{prose(model.conversion.reference)} on {inputs}"
    yield "preprocessing", prose(evidence.preprocessing.source)
    if evidence.dataset is not None:
        data = evidence.dataset
        counts = f"{data.num_evaluated} of {data.total} samples"
        yield "data set", f"{code(data.name)}, {counts}, SHA-256 {code(data.fingerprint_sha256)}"
    if evidence.policy is not None:
        policy = evidence.policy
        yield "policy", f"{code(policy.name)}, judged on {policy.judged_on}, SHA-256 {code(policy.sha256)}"
    if report.evidence_sha256 is not None:
        yield "evidence SHA-256", code(report.evidence_sha256)
    version = report.run.versions.get("lipaudit", "")
    yield (
        "made by",
        f"lipaudit {prose(version)} (report schema {report.schema_version}), {code(report.run.started)}",
    )


def _titled(title: str, parts: Iterable[str]) -> list[str]:
    """A heading with its parts; nothing if there are none."""
    found = [part for part in parts if part]
    return [f"### {title}", *found] if found else []


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    every = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in every)


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _rest(count: int, noun: str, several: str = "") -> str:
    return f"… and {wording.plural(count, noun, several)}: the JSON report has all." if count > 0 else ""
