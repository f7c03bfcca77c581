"""What the tables of a policy file mean together: which keys a metric takes, and what they say.

Each metric takes a limit (`max` or `min`) or a ratchet (`baseline` with the step it allows), never both: two
limits are two budgets, and two lines in a report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lipaudit.policy.budget import Budget
from lipaudit.policy.ceiling import CeilingBudget
from lipaudit.policy.floor import FloorBudget
from lipaudit.policy.limit import Limit, Ratchet
from lipaudit.policy.lines import Lines
from lipaudit.policy.requirement import Requirement, Wanted
from lipaudit.policy.tables import BudgetTable, RequireTable, WaiverTable, Written
from lipaudit.policy.waiver import Waiver

__all__ = ["Problem", "budget_of", "requirements_of", "waiver_of"]

_RESERVED = ("-", "require.")
"""How no id of a file may begin: flags and requirements are called so."""


class Problem(Exception):
    """Something that cannot be meant.

    Args:
        path: of the key or the table: ("budget", 0, "max").
        message: what is wrong.
        hint: what to write instead.
    """

    def __init__(self, path: tuple[str | int, ...], message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path, self.message, self.hint = path, message, hint


@dataclass(frozen=True, slots=True)
class _Takes:
    """The keys of a metric beside `id` and `metric`."""

    limit: str
    step: str
    others: tuple[str, ...]

    @property
    def told(self) -> str:
        """In words."""
        return f"{self.limit}, or baseline and {self.step}"


_TAKES = {
    "lipschitz": _Takes("max", "max_increase", ("layers",)),
    "slack": _Takes("max", "max_increase", ("layers",)),
    "certified_accuracy": _Takes("min", "max_decrease", ("eps",)),
    "clean_accuracy": _Takes("min", "max_decrease", ()),
}


def budget_of(table: BudgetTable, number: int, folder: Path, line: int) -> CeilingBudget | FloorBudget:
    """One `[[budget]]`.

    Args:
        table: its keys.
        number: counted from 0.
        folder: that the baseline's path starts from.
        line: of its header.

    Raises:
        Problem: if its keys do not go together.
    """
    at = ("budget", number)
    takes = _TAKES[table.metric]
    _check_keys(table, takes, at)
    limit = _limit(table, takes, at, folder)
    name = _name(table, at)
    if takes.limit == "max":
        return CeilingBudget(name, table.metric, limit, table.layers or (), line)
    eps = table.eps
    if eps is None:
        return FloorBudget(name, limit, line=line)
    if eps.percent or not float(eps.value) > 0:
        raise Problem((*at, "eps"), f"eps = {eps.text}: a radius must be positive", 'such as "36/255" or 0.5')
    return FloorBudget(name, limit, eps.value, eps.text, line)


def _check_keys(table: BudgetTable, takes: _Takes, at: tuple[str | int, ...]) -> None:
    hint = f"a {table.metric} budget takes {takes.told}" + "".join(f", {key}" for key in takes.others)
    allowed = {"id", "metric", takes.limit, takes.step, "baseline", *takes.others}
    given = {key for key in BudgetTable.model_fields if getattr(table, key) is not None}
    for key in sorted(given - allowed):
        raise Problem((*at, key), f"{key} has no meaning for metric {table.metric!r}", hint)
    if "eps" in takes.others and "eps" not in given:
        raise Problem(at, "a certified_accuracy budget needs the radius eps", 'eps = "36/255"')
    if not given & {takes.limit, "baseline", takes.step}:
        raise Problem(at, "the budget has no limit", hint)
    if takes.limit in given and given & {"baseline", takes.step}:
        raise Problem((*at, takes.limit), "a budget has one limit, this one two", "write two budgets")
    for one, other in (("baseline", takes.step), (takes.step, "baseline")):
        if one in given and other not in given:
            raise Problem((*at, one), f"{one} needs {other}", hint)


def _limit(table: BudgetTable, takes: _Takes, at: tuple[str | int, ...], folder: Path) -> Limit | Ratchet:
    step = table.max_increase or table.max_decrease
    if table.baseline is not None and step is not None:
        return _ratchet(table.baseline, step, takes, at, folder)
    written = table.max or table.min
    if written is None:  # `_check_keys` saw to it
        raise Problem(at, "the budget has no limit")
    where = (*at, takes.limit)
    if takes.limit == "min":
        if written.value > 1:
            raise Problem(where, f"min = {written.text}: a share lies between 0 and 1", '0.6 or "60%"')
    elif written.percent:
        raise Problem(where, f"max = {written.text}: no share is meant here", "write a number such as 20")
    elif table.metric == "slack" and written.value < 1:
        raise Problem(where, f"max = {written.text}: a slack (upper / lower) is never below 1")
    return Limit(written.value, written.text)


def _ratchet(baseline: str, step: Written, takes: _Takes, at: tuple[str | int, ...], folder: Path) -> Ratchet:
    where = (*at, takes.step)
    if not step.percent and step.value:
        of = "a percentage of the baseline" if takes.step == "max_increase" else "percentage points"
        hint = f'write {of}, such as "{step.text}%", or 0'
        raise Problem(where, f"{takes.step} = {step.text} could be meant in two ways", hint)
    if takes.step == "max_decrease" and step.value > 1:
        raise Problem(where, f"max_decrease = {step.text} is more than everything", '"1%"')
    return Ratchet(folder / baseline, step.value, step.text)


def _name(table: BudgetTable, at: tuple[str | int, ...]) -> str:
    """The id, or the metric with what tells it from others."""
    if table.id is not None:
        if table.id.startswith(_RESERVED):
            raise Problem((*at, "id"), f"id = {table.id!r} begins like one of ours", "call it otherwise")
        return table.id
    name: str = table.metric
    if table.eps is not None:
        name += f"@{table.eps.text}"
    if table.layers is not None:
        name += f"[{','.join(table.layers)}]"
    return name if table.baseline is None else f"{name}.ratchet"


def requirements_of(table: RequireTable, lines: Lines) -> tuple[Budget, ...]:
    """The clauses of `[require]`.

    Raises:
        Problem: if one cannot be meant.
    """
    found: list[Budget] = []
    for clause in RequireTable.model_fields:
        value = getattr(table, clause)
        if value is not None:
            wanted, text = _wanted(clause, value)
            found.append(Requirement(clause, wanted, text, lines.of(("require", clause))))
    return tuple(found)


def _wanted(clause: str, value: Wanted | Written) -> tuple[Wanted, str]:
    if isinstance(value, Written):
        if value.value > 1:
            raise Problem(
                ("require", clause), f"{clause} = {value.text}: a share lies between 0 and 1", '"100%"'
            )
        return value.value, value.text
    if isinstance(value, tuple):
        return value, " or ".join(value)
    return value, "true" if value is True else str(value)


def waiver_of(table: WaiverTable, number: int, budgets: Mapping[str, Budget] | None, line: int) -> Waiver:
    """One `[[waiver]]`.

    Args:
        table: its keys.
        number: counted from 0.
        budgets: of the file by id; None where that is not known.
        line: of its header.

    Raises:
        Problem: if it is about a budget that is not there, or about layers of one that has none.
    """
    if budgets is not None:
        meant = budgets.get(table.budget)
        if meant is None:
            hint = f"budgets are called {', '.join(budgets)}" if budgets else "the file sets no budget"
            raise Problem(("waiver", number, "budget"), f"no budget is called {table.budget!r}", hint)
        if table.layers is not None and not meant.layers:
            hint = "leave layers out: then the budget is waived as a whole"
            raise Problem(("waiver", number, "layers"), f"budget {table.budget!r} is not on layers", hint)
    return Waiver(table.budget, table.reason, table.owner, table.expires, table.layers or (), line)
