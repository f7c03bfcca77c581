"""What is asked of a repair: one limit, how it is to be kept, and which layers it speaks of.

A limit is meant as it is written: 0.1 is a tenth, not the double beside it.  Bounds are compared with it as
budgets compare them (`policy.ceiling`), so that an audit with `--max-lipschitz` of the same text agrees.
"""

from __future__ import annotations

from dataclasses import dataclass

from lipaudit.errors import UsageError
from lipaudit.repair.biases import FIT, check_choice
from lipaudit.repair.methods import FASTCLIP, method_called
from lipaudit.report.exact import double_below, read_exact

__all__ = ["Wish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for: one of the two limits.

    Args:
        lipschitz: for the certified bound of the network; a number, or exact text such as 3/2.
        layer_norm: for every linear layer's certified norm.
        how: a name from `METHODS`.
        layers: patterns of names of the layers that it speaks of; all if empty.
        biases: `fit` them to the smaller weights, or `keep` them.

    Raises:
        UsageError: both or none, or no positive number.
    """

    lipschitz: str | float | None = None
    layer_norm: str | float | None = None
    how: str = FASTCLIP
    layers: tuple[str, ...] = ()
    biases: str = FIT

    def __post_init__(self) -> None:
        if (self.lipschitz is None) == (self.layer_norm is None):
            raise UsageError(
                "a bound for the network or one for every layer is needed, and not both",
                hint="--lipschitz C, or --layer-norm C",
            )
        try:
            limit = self.limit
        except ValueError as error:
            raise UsageError(f"a limit of {self.text}: {error}", hint="a positive number, e.g. 10") from error
        if limit <= 0:
            raise UsageError(f"a limit of {self.text}: a positive number is needed")
        method_called(self.how)
        check_choice(self.biases)

    @property
    def text(self) -> str:
        """The limit as it was written."""
        written = self.layer_norm if self.lipschitz is None else self.lipschitz
        return str(written).strip().removesuffix(".0")

    @property
    def limit(self) -> float:
        """The largest double that is not above it."""
        return double_below(read_exact(self.text))
