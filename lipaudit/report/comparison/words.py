"""The sentences of a comparison: what was compared, where, what is missing, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator

from lipaudit.errors import ExitCode
from lipaudit.report.comparison.record import Comparison, Proved, Row
from lipaudit.report.wording import plural

__all__ = ["MEASURED", "data_line", "ending", "machine_line", "measured_lines", "notes", "problems"]

MEASURED = (
    "Times and memory are measurements of this machine, not proofs. A time is the median of repeated runs in "
    "which the models take turns, with its quartiles; the memory beside it is weights, batch and all tensors "
    "at the worst moment. An audit's time is that of a single run."
)
_AUDIT_ALONE = "An audit's time is a measurement of this machine, of a single run, and no proof."
_COMPLETE = "every analysis is complete"


def measured_lines(comparison: Comparison) -> Iterator[str]:
    """What the measurements are worth, if any were taken."""
    if any(row.costs is not None for row in comparison.models):
        yield MEASURED
    elif any(row.audit_seconds is not None for row in comparison.models):
        yield _AUDIT_ALONE


def data_line(comparison: Comparison) -> str:
    """Models, samples, and what distances are measured in."""
    facts = [plural(len(comparison.models), "model")]
    audited = [proved for _, proved in comparison.audited]
    facts += dict.fromkeys(_samples(proved) for proved in audited)
    facts += dict.fromkeys(f"l2 in {proved.preprocessing.threat_space}" for proved in audited)
    return " · ".join(facts)


def _samples(proved: Proved) -> str:
    data = proved.dataset
    return "no data set" if data is None else f"{data.name} {data.num_evaluated} of {data.total}"


def machine_line(comparison: Comparison) -> str:
    """Where it ran, and on what batches."""
    host = comparison.machine.host
    facts = [host.platform, host.device]
    if comparison.machine.accelerator:
        facts.append(comparison.machine.accelerator)
    if host.threads is not None:
        facts.append(plural(host.threads, "thread"))
    facts.append(f"torch {comparison.machine.versions.get('torch', '?')}")
    works = [
        w for row in comparison.models if row.costs for w in (row.costs.forward, row.costs.training) if w
    ]
    facts += dict.fromkeys(f"batch {work.batch} in {work.dtype}" for work in works)
    return " · ".join(facts)


def problems(comparison: Comparison) -> Iterator[tuple[Row, str]]:
    """Each model whose exit code is not 0, and why."""
    for row in comparison.models:
        if row.problem is not None:
            yield row, row.problem.message
        for finding in () if row.proved is None else row.proved.findings:
            yield row, f"{finding.rule}{f' {finding.layer}' if finding.layer else ''}: {finding.message}"


def notes(comparison: Comparison) -> Iterator[str]:
    """What a reader must know before comparing two rows; what goes for several of them is said once."""
    yield from comparison.notes
    concerned: dict[str, list[str]] = {}
    for row in comparison.models:
        for note in () if row.costs is None else row.costs.notes:
            concerned.setdefault(note, []).append(row.name)
    for note, names in concerned.items():
        yield f"{note} ({', '.join(names)})"


def ending(comparison: Comparison, failed: ExitCode | None = None) -> str:
    """The last line.

    Args:
        comparison: what was done.
        failed: with what the program ends because a file could not be written.
    """
    code = ExitCode(comparison.exit_code) if failed is None else failed
    whole = sum(row.exit_code == ExitCode.PASS for row in comparison.models)
    words = "COMPARED" if whole == len(comparison.models) else f"{whole} OF {len(comparison.models)} COMPARED"
    # A comparison has no budgets that could pass.
    meaning = _COMPLETE if code is ExitCode.PASS else code.meaning
    return f"{words if failed is None else 'NOT WRITTEN'} (exit {code.value}: {meaning})"
