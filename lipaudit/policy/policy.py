"""A policy: what an audit must show, the exceptions from it, and the file they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lipaudit.errors import UsageError
from lipaudit.policy.budget import Budget
from lipaudit.policy.misspelt import layers_called
from lipaudit.policy.naming import meant
from lipaudit.policy.space import PIXEL, Space
from lipaudit.policy.waiver import Waiver

__all__ = ["Policy", "PolicyFile"]


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """Where a policy was read from.

    Args:
        path: the file.
        sha256: of its bytes.
    """

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Budgets in the order they were written, `[require]` after them, flags last; ids differ.

    Args:
        budgets: what is judged.
        waivers: exceptions.
        file: None where everything came as flags.
        space: the unit in which budgets on distances are meant, if they do not say it themselves.
    """

    budgets: tuple[Budget, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    file: PolicyFile | None = None
    space: Space = PIXEL

    @property
    def asked_eps(self) -> tuple[str, ...]:
        """Radii that a certified curve should contain, as written."""
        return tuple(budget.asked_eps for budget in self.budgets if budget.asked_eps is not None)

    @property
    def baselines(self) -> tuple[Path, ...]:
        """The earlier reports that ratchets need, each once."""
        return tuple(dict.fromkeys(b.baseline for b in self.budgets if b.baseline is not None))

    def place(self, line: int | None) -> str:
        """`file:line: `, to open a message with; empty for what was a flag."""
        return "" if self.file is None or line is None else f"{self.file.path}:{line}: "

    def plus(self, budgets: Sequence[Budget]) -> Policy:
        """With budgets that were given as flags, of which none replaces one of the file."""
        return replace(self, budgets=(*self.budgets, *budgets))

    def check_data(self, dataset: str) -> None:
        """A budget on samples cannot be meant without any.

        Raises:
            UsageError: if there is one, and no data set is given.
        """
        for budget in self.budgets:
            if budget.needs_data and dataset == "none":
                raise UsageError(
                    f"{self.place(budget.line)}budget {budget.id!r} counts samples, so it needs a data set",
                    hint="add --dataset mnist or npz:FILE, or leave the policy file out with --no-policy",
                )

    def check_layers(self, layers: Sequence[str]) -> None:
        """Every pattern of a budget must mean a layer: one that is misspelt would limit nothing.

        One of a waiver need not: it excuses less than was meant, which its finding tells, and the layers of a
        network that was pruned since are no mistake in reports that are judged again.

        Raises:
            UsageError: naming similar layers.
        """
        for budget in self.budgets:
            for pattern in budget.layers:
                if not meant([pattern], layers):
                    raise UsageError(
                        f"{self.place(budget.line)}budget {budget.id!r}: no layer is called {pattern!r}",
                        hint=f"{layers_called(pattern, layers)}; * is any text, [ and ] are themselves",
                    )
