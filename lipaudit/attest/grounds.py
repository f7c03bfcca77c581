"""What a requirement of a policy rests on: `[require]` asks about the audit, and a report tells how it was.

Judged again, a clause passes on what the report says.  That is worth something only where it was proved or
compared: what the network and its files tell always is, what the samples tell is with the data set at hand,
and an attack is never repeated.
"""

from __future__ import annotations

from lipaudit.attest.ledger import Ledger
from lipaudit.data import Dataset
from lipaudit.report.model import Evidence

__all__ = ["check_grounds"]

FROM_THE_MODEL = frozenset({"trust", "coverage", "arithmetic"})
"""Clauses that are judged by what was proved or compared without the samples."""
NEVER = frozenset({"attacked"})
_NAME = "require."


def check_grounds(evidence: Evidence, data: Dataset | None, ledger: Ledger) -> None:
    """Requirements that pass by what nobody checked are not proved.

    Args:
        evidence: with the outcomes, which were judged again.
        data: the samples, which are the right ones; None if they are not at hand.
        ledger: is told of each.
    """
    for outcome in evidence.budgets:
        clause = outcome.id.removeprefix(_NAME)
        if outcome.metric != "require" or outcome.outcome != "pass" or clause in FROM_THE_MODEL:
            continue
        why = _why(clause, evidence, data)
        if why:
            ledger.unproved.append(f"budget {outcome.id}: {why}")


def _why(clause: str, evidence: Evidence, data: Dataset | None) -> str:
    """Why the clause has no ground; "" if it has."""
    record = evidence.dataset
    if clause in NEVER:
        return (
            "it rests on an attack, which is never repeated: drop require.attacked from policies of reports "
            "that are verified, or accept exit 3"
        )
    if record is None:
        return ""
    if data is None:
        return "it rests on the samples, which are not at hand (--dataset)"
    return (
        f"here the data set is called {data.name}" if clause == "dataset" and data.name != record.name else ""
    )
