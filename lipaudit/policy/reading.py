"""A policy file's text → `Policy`, or one error that lists everything wrong with it, each with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lipaudit.errors import UsageError
from lipaudit.policy.budget import Budget
from lipaudit.policy.lines import Lines, scan
from lipaudit.policy.meant import Problem, budget_of, requirements_of, waiver_of
from lipaudit.policy.policy import Policy, PolicyFile
from lipaudit.policy.space import PIXEL
from lipaudit.policy.tables import BudgetTable, PolicyTable, RequireTable, WaiverTable
from lipaudit.policy.waiver import Waiver
from lipaudit.report.wording import printable

__all__ = ["PYPROJECT", "TOOL", "read_policy", "toml_of"]

PYPROJECT = "pyproject.toml"
TOOL = ("tool", "lipaudit")
_EXAMPLE = "`lipaudit policy init` writes a commented example"
_MOST = 8  # problems that one message lists
_PLACE = re.compile(r" \(at line ([0-9]+), column [0-9]+\)")
_QUOTES = 'text stands in quotes, as in eps = "36/255"'
_TABLES: dict[str, type[BaseModel]] = {
    "budget": BudgetTable,
    "require": RequireTable,
    "waiver": WaiverTable,
}


@dataclass(frozen=True, slots=True)
class _Text:
    """The file that is read, and where its parts stand."""

    path: Path
    lines: Lines

    def refused(self, problems: Sequence[Problem]) -> UsageError:
        """One error with all of them."""
        placed = sorted(((self.lines.of(p.path), p) for p in problems), key=itemgetter(0))
        hint = problems[0].hint if len(problems) == 1 else ""
        told = [f"{self.path}:{line}: {_told(problem, alone=bool(hint))}" for line, problem in placed[:_MOST]]
        told += [f"… and {len(placed) - _MOST} more"] if len(placed) > _MOST else []
        return UsageError("\n".join(told), hint=hint or _EXAMPLE)


def _told(problem: Problem, *, alone: bool) -> str:
    """One line; among several each has its own hint."""
    hint = f" ({problem.hint})" if problem.hint and not alone else ""
    return printable(f"{problem.message}{hint}")


def toml_of(data: bytes, path: Path) -> dict[str, Any]:
    """A TOML document as plain data; numbers with a point keep their digits.

    Raises:
        UsageError: if it is none.
    """
    try:
        return tomllib.loads(data.decode("utf-8"), parse_float=_decimal)
    except RecursionError as error:
        raise UsageError(f"{path}:1: not TOML: nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError, and whole numbers without end
        found = _PLACE.search(str(error))
        line = int(found[1]) if found else data.rstrip().count(b"\n") + 1
        reason = printable(_PLACE.sub("", str(error)))
        raise UsageError(f"{path}:{line}: not TOML: {reason}", hint=_QUOTES) from error


def read_policy(data: bytes, path: Path) -> Policy:
    """What a policy file says.

    Args:
        data: its bytes.
        path: where they stood; of a `pyproject.toml` only `[tool.lipaudit]` counts.

    Raises:
        UsageError: with line, reason and what to write instead, for all that is wrong.
    """
    document = toml_of(data, path)
    prefix = TOOL if path.name == PYPROJECT else ()
    for name in prefix:
        document = document.get(name, {})
        if not isinstance(document, dict):
            raise UsageError(f"{path}:1: {'.'.join(prefix)} is no table", hint=f"[{'.'.join(prefix)}]")
    text = _Text(path, scan(data.decode("utf-8"), prefix))
    try:
        table = PolicyTable.model_validate(document)
    except ValidationError as error:
        raise text.refused([_explained(e) for e in error.errors(include_url=False)]) from error
    return _policy(table, text, PolicyFile(path, sha256(data).hexdigest()))


def _policy(table: PolicyTable, text: _Text, file: PolicyFile) -> Policy:
    problems: list[Problem] = []
    budgets: list[Budget] = []
    waivers: list[Waiver] = []
    for number, row in enumerate(table.budget):
        try:
            budgets.append(budget_of(row, number, file.path.parent, text.lines.of(("budget", number))))
        except Problem as problem:
            problems.append(problem)
    try:
        if table.require is not None:
            budgets += requirements_of(table.require, text.lines)
    except Problem as problem:
        problems.append(problem)
    problems += _repeated(table, budgets)
    known = {budget.id: budget for budget in budgets}
    for number, exception in enumerate(table.waiver):
        try:
            # Where a budget could not be read, a waiver may well mean that one.
            line = text.lines.of(("waiver", number))
            waivers.append(waiver_of(exception, number, None if problems else known, line))
        except Problem as problem:
            problems.append(problem)
    if problems:
        raise text.refused(problems)
    asked = None if table.require is None else table.require.threat_space
    return Policy(tuple(budgets), tuple(waivers), file, asked or PIXEL)


def _repeated(table: PolicyTable, budgets: Sequence[Budget]) -> Iterator[Problem]:
    if len(budgets) < len(table.budget):
        return
    ids = [budget.id for budget in budgets[: len(table.budget)]]
    for number, name in enumerate(ids):
        if name in ids[:number]:
            yield Problem(
                ("budget", number, "id"), f"two budgets are called {name!r}", 'give one another id = "…"'
            )


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return Decimal("nan")


def _explained(error: Any) -> Problem:  # noqa: ANN401 - pydantic's own record
    """pydantic's words as ours."""
    path, kind = tuple(error["loc"]), error["type"]
    name = str(path[-1])
    if kind == "extra_forbidden":
        known = _keys(path[:-1])
        close = get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"keys here: {', '.join(known)}"
        return Problem(path, f"{name!r} is no key of {_table_name(path)}", hint)
    if kind == "missing":
        return Problem(path, f"{_table_name(path)} needs {name!r}", f"{name} = …")
    if kind == "literal_error":
        allowed = str(error["ctx"]["expected"])
        close = get_close_matches(str(error["input"]), re.findall(r"'(\w+)'", allowed), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"one of {allowed}"
        return Problem(path, f"{name} = {error['input']!r} is unknown", hint)
    if kind == "model_type":
        return Problem(
            path, f"{name} is no table", "write [[budget]], [[waiver]] or [require] above its keys"
        )
    if kind == "tuple_type":
        return Problem(path, f"{name} is no list of tables", f"write [[{name}]], with double brackets")
    reason = str(error["ctx"]["error"]) if kind == "value_error" else str(error["msg"])
    return Problem(path, f"{name}: {reason}")


def _keys(path: Sequence[str | int]) -> list[str]:
    """What may stand in the table at this path."""
    model = _TABLES.get(str(path[0]), PolicyTable) if path else PolicyTable
    return list(model.model_fields)


def _table_name(path: Sequence[str | int]) -> str:
    if len(path) < 2:
        return "a policy"
    return "[require]" if path[0] == "require" else f"[[{path[0]}]]"
