"""How an exported ATen call becomes an op of the graph.

A translator asks `Args` for what it needs: `ref` (a live tensor; its shape), `const` (a weight, known
now) and `attr` (a number, flag or list), each by the name it has in the ATen schema.  `done` then
raises if something was not asked for, so a new `ceil_mode` cannot be ignored silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lipaudit.graph.node import Op, Shape

__all__ = ["Args", "Exact", "Live", "OpSpec", "Untranslatable", "checked_table"]


class Untranslatable(Exception):
    """This use of an operation has no rule; the message is the reason a report gives."""


@dataclass(frozen=True, slots=True)
class Live:
    """A value that depends on the network's input: a node's name and shape; is its type a float?

    `paired` says that it is complex, and that the last axis of the shape holds real and imaginary parts.
    """

    name: str
    shape: Shape
    paired: bool = False
    floating: bool = True


@dataclass(slots=True)
class Args:
    """The arguments of one ATen call by schema name, and a record of which were asked for.

    Args:
        target: the call, e.g. `aten.conv2d.default`.
        values: every schema argument, defaults filled in; tensors are `Live` or constant `Tensor`.
        output: shape of the result (of the first one if there are several).
        paired: whether the result is complex, as `Live.paired`.
    """

    target: str
    values: Mapping[str, Any]
    output: Shape
    inputs: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    paired: bool = False

    def is_floating(self, name: str) -> bool:
        """Whether that live argument has a float type."""
        value = self.values.get(name)
        return isinstance(value, Live) and value.floating

    def is_live(self, name: str) -> bool:
        """Whether that argument depends on the input."""
        return isinstance(self.values.get(name), Live)

    def ref(self, name: str) -> Shape:
        """Take a live tensor as the op's next input; its shape."""
        value = self._take(name)
        if not isinstance(value, Live):
            raise Untranslatable(f"{name} of {self.target} is a constant where a live tensor was expected")
        self.inputs.append(value.name)
        return value.shape

    def const(self, name: str) -> Tensor:
        """A constant tensor or number, as float64."""
        value = self._take(name)
        if isinstance(value, Live):
            raise Untranslatable(f"{name} of {self.target} depends on the input and must be constant")
        return _as_double(value)

    def optional(self, name: str) -> Tensor | None:
        """A constant tensor that may be absent."""
        return self.const(name) if self.values.get(name) is not None else self._take(name)

    def attr(self, name: str) -> Any:  # noqa: ANN401 - ATen attributes are of any plain type
        """A number, flag, string or list."""
        value = self._take(name)
        if isinstance(value, Live):
            raise Untranslatable(f"{name} of {self.target} depends on the input and must be constant")
        return value

    def members(self, name: str) -> list[Live | Tensor]:
        """A list of tensors; the live ones become inputs in order."""
        members = list(self._take(name))
        self.inputs.extend(m.name for m in members if isinstance(m, Live))
        return [m if isinstance(m, Live) else _as_double(m) for m in members]

    def ignore(self, *names: str) -> None:
        """Arguments without influence on the function (memory formats, generators)."""
        self.seen.update(names)

    def done(self) -> None:
        """Check that every argument was asked for.

        Raises:
            Untranslatable: naming those that were not.
        """
        unread = [n for n, v in self.values.items() if n not in self.seen and v is not None]
        if unread:
            raise Untranslatable(f"{self.target} has arguments without a rule: {', '.join(unread)}")

    def _take(self, name: str) -> Any:  # noqa: ANN401
        if name not in self.values:
            raise Untranslatable(f"{self.target} has no argument called {name}")
        self.seen.add(name)
        return self.values[name]


def _as_double(value: Any) -> Tensor:  # noqa: ANN401
    tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    if tensor.is_complex():
        raise Untranslatable("complex constants have no rule")
    if tensor.dtype == torch.int64 and tensor.numel() and int(tensor.abs().max()) > 2**53:
        raise Untranslatable("whole numbers beyond 2⁵³ would be rounded")
    return tensor.detach().to(torch.float64)


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One row of a table: ATen targets and how to translate them.

    `translate` returns the op, or several (one per output; None where an output has no rule).
    """

    targets: tuple[str, ...]
    translate: Callable[[Args], Op | tuple[Op | None, ...]]


class Exact:
    """Mixin for ops that move or compare numbers: no rounding error of their own."""

    __slots__ = ()

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """Zero."""
        del shapes, norms
        return torch.zeros_like(out)


def checked_table(families: Sequence[Sequence[OpSpec]]) -> dict[str, OpSpec]:
    """One table from all families.

    Raises:
        ValueError: if two rows claim one target.
    """
    table: dict[str, OpSpec] = {}
    for spec in (row for family in families for row in family):
        for target in spec.targets:
            if target in table:
                msg = f"two rows translate {target}"
                raise ValueError(msg)
            table[target] = spec
    return table
