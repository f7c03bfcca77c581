"""A verification as a person reads it, and as a program does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from textwrap import wrap

from lipaudit.attest.ledger import Difference, Verification
from lipaudit.errors import ExitCode
from lipaudit.report.model import AuditReport, Evidence
from lipaudit.report.wording import bound_text, plural, printable

__all__ = ["to_json", "to_text"]

WIDTH, LEFT = 96, 13
MOST = 40
"""Differences that are shown; `--json` has them all."""
LONGEST = 160
"""Characters of one value: lists and digests may be long."""
ENDS = {
    ExitCode.PASS: ("VERIFIED", "what is claimed was proved again, but for what is named as not checked"),
    ExitCode.INCOMPLETE: ("INCOMPLETE", "nothing differs, but not everything could be proved again"),
    ExitCode.REFUSED: ("REFUSED", "the report claims what is not so"),
}


def to_text(name: str, report: AuditReport, found: Verification) -> str:
    """What the report claims, what of it was proved, what was not, what differs; the result last."""
    lines = [*_rows("report", [printable(name)]), *_rows("claims", _claims(report))]
    told = (("proved", found.proved), ("not checked", found.unchecked), ("not proved", found.unproved))
    lines += [line for title, texts in told for line in _rows(title, map(printable, texts))]
    lines += _rows("differs", [_told(row) for row in found.differences[:MOST]])
    hidden = len(found.differences) - MOST
    if hidden > 0:
        lines += _rows("", [f"… and {plural(hidden, 'more difference')}"])
    word, meaning = ENDS[found.exit_code]
    return "\n".join([*lines, "", f"{word} (exit {int(found.exit_code)}: {meaning})"]) + "\n"


def _claims(report: AuditReport) -> Iterator[str]:
    """The headlines: they are true only if the result says so."""
    evidence = report.evidence
    yield f"verdict {report.verdict} (exit {report.exit_code}) about {printable(evidence.model.name)}"
    yield f"l2 Lipschitz constant of the network ≤ {bound_text(evidence.global_.upper)}"
    yield f"distances in {printable(evidence.preprocessing.threat_space)}; {_preprocessing(evidence)}"
    if evidence.robustness is not None:
        for point in evidence.robustness.curve:
            yield f"{point.certified_count} of {point.n} samples certified at radius {point.eps_exact}"


def _preprocessing(evidence: Evidence) -> str:
    """What lies between a sample and the network, and who said so: every radius rests on it."""
    how = evidence.preprocessing
    numbers = (
        f"{name} {' '.join(values)}" for name, values in (("mean", how.mean), ("std", how.std)) if values
    )
    facts = [f"scale {how.scale}", *numbers, *([f"layout {how.layout}"] if how.layout else [])]
    found = "" if how.assumption is None else f", found by trial: {how.assumption.convention}"
    return printable(f"preprocessing {', '.join(facts)} (source: {how.source}{found})")


def to_json(name: str, report: AuditReport, found: Verification) -> str:
    """The same as a JSON document."""
    document = {
        "report": name,
        "verdict": report.verdict,
        "evidence_sha256": report.evidence_sha256,
        "preprocessing": report.evidence.preprocessing.model_dump(mode="json"),
        "result": ENDS[found.exit_code][0].lower(),
        "exit_code": int(found.exit_code),
        "proved": found.proved,
        "not_checked": found.unchecked,
        "not_proved": found.unproved,
        "differences": [
            {"where": row.where, "claimed": row.claimed, "proved": row.proved} for row in found.differences
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _told(row: Difference) -> str:
    return f"{printable(row.where)}: claimed {_short(row.claimed)}, proved {_short(row.proved)}"


def _short(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def _rows(title: str, texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        first, *rest = wrap(text, WIDTH - LEFT, break_on_hyphens=False) or [""]
        yield f"{title:{LEFT}}{first}".rstrip()
        yield from (" " * LEFT + line for line in rest)
        title = ""
