"""The nodes of a torch.export program (schema 8, as JSON) → calls of admitted operators.

What is not admitted is refused with its name; arguments are numbers, short texts and names of values.

Format: torch/_export/serde/schema.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lipaudit.errors import InputRefused, UnsafeInput
from lipaudit.load.admitted import admitted, arguments_of, is_assertion, is_random, is_size, named_arguments
from lipaudit.load.archive import DTYPES, STRIDED, damaged

__all__ = ["Ref", "Step", "read_steps"]


@dataclass(frozen=True, slots=True)
class Ref:
    """A value of the program by name."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One call.

    Args:
        target: what is called.
        args: positional arguments; lists of them may hold `Ref`s, too.
        kwargs: named arguments.
        outputs: names of the results; empty names are not used.
        single: it returns one value, no tuple or list.
        path: the module that the call stood in, if the exporter says.
    """

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[str, ...]
    single: bool
    path: str

    @property
    def in_place(self) -> bool:
        """Whether it overwrites its first argument."""
        return any(a.alias_info is not None and a.alias_info.is_write for a in arguments_of(self.target))


_WHOLE = 1 << 63
_PARTS = 3


def read_steps(graph: Mapping[str, Any], name: str) -> tuple[Step, ...]:
    """The calls of a program, in order.

    Args:
        graph: schema.Graph as JSON.
        name: for messages.

    Raises:
        UnsafeInput: an operator that is not admitted; the message names all of them.
        InputRefused: the program was saved in training mode.
    """
    nodes = [node for node in graph["nodes"] if not is_assertion(node["target"])]
    foreign = sorted({str(n["target"]) for n in nodes if admitted(n["target"]) is None})
    control = [target for target in foreign if target.startswith("torch.ops.higher_order.")]
    if control:
        raise InputRefused(
            f"{name} holds control flow or regions ({', '.join(c[:60] for c in control[:4])}), "
            "which has no translation",
            hint="leave torch.no_grad(), torch.cond and the like out of forward, or save "
            "program.run_decompositions()",
        )
    drawn = [target for target in foreign if is_random(target)]
    if drawn:
        raise InputRefused(
            f"{name} calls {', '.join(drawn[:4])}, which is random",
            hint="call model.eval() before torch.export.export; only a function of the input can be analysed",
        )
    if foreign:
        raise UnsafeInput(
            f"{name} wants to call {', '.join(f[:80] for f in foreign[:5])}"
            f"{f' and {len(foreign) - 5} more' if len(foreign) > 5 else ''}, which no network of standard "
            "layers needs",
            hint="nothing was executed; only functional aten operators are admitted: export to ONNX, or give "
            "the weights with --arch",
        )
    steps = tuple(_step(node, name) for node in nodes)
    for step in steps:
        _refuse_training(step, name)
    return steps


def _step(node: Mapping[str, Any], name: str) -> Step:
    target = admitted(node["target"])
    assert target is not None  # noqa: S101 - `read_steps` has looked
    given = {}
    for argument in node["inputs"]:
        given[argument["name"]] = _argument(argument["arg"], name)
    outputs, single = _outputs(node["outputs"], name)
    if is_size(node["target"]):
        return Step(target, tuple(given.values()), {}, outputs, single, "")
    unknown = given.keys() - {argument.name for argument in arguments_of(target)}
    if unknown:
        raise damaged(name, f"{node['target']} has no argument {min(unknown)[:40]!a}")
    args: list[Any] = []
    kwargs = {}
    for position, argument in enumerate(arguments_of(target)):
        if argument.name not in given:
            continue
        if argument.kwarg_only or len(args) < position:
            kwargs[argument.name] = given[argument.name]
        else:
            args.append(given[argument.name])
    return Step(target, tuple(args), kwargs, outputs, single, _path(node.get("metadata") or {}, name))


def _outputs(outputs: Sequence[Mapping[str, Any]], name: str) -> tuple[tuple[str, ...], bool]:
    """Names of the results, and whether the call returns one value and no list."""
    if len(outputs) == 1 and "as_tensors" in outputs[0]:
        return tuple(_named(entry) for entry in outputs[0]["as_tensors"]), False
    found = []
    for output in outputs:
        value = _argument(output, name)
        found.append(value.name if isinstance(value, Ref) else "")
    return tuple(found), len(found) == 1


def _path(metadata: Mapping[str, Any], name: str) -> str:
    """`L__self__,,Net;L__self__conv@1,conv,torch.nn.Conv2d` → `conv`; the `@1` tells its second call."""
    stack = str(metadata.get("nn_module_stack", ""))
    entries = [entry.split(",") for entry in stack.split(";")] if stack else []
    if any(len(entry) != _PARTS for entry in entries):
        raise InputRefused(
            f"{name}: modules are called by names with a comma or a semicolon, which this format cannot tell",
            hint="rename them, or give the weights with --arch",
        )
    return entries[-1][1] if entries else ""


def _named(value: Mapping[str, Any]) -> str:
    found = value["name"]
    if not isinstance(found, str):
        raise TypeError(found)
    return found


def _ref(value: Mapping[str, Any]) -> Ref:
    return Ref(_named(value))


def _int(value: Any) -> int:  # noqa: ANN401 - JSON
    if type(value) is not int or abs(value) >= _WHOLE:
        raise ValueError(value)
    return value


def _float(value: Any) -> float:  # noqa: ANN401 - JSON; infinities are texts
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(value)
    return float(value)


def _bool(value: Any) -> bool:  # noqa: ANN401 - JSON
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _string(value: Any) -> str:  # noqa: ANN401 - JSON
    if not isinstance(value, str) or len(value) > 200:
        raise TypeError(value)
    return value


def _layout(value: Any) -> torch.layout:  # noqa: ANN401 - JSON
    if value != STRIDED:
        raise ValueError(value)
    return torch.strided


def _perhaps(value: Mapping[str, Any]) -> Ref | None:
    return _ref(value["as_tensor"]) if "as_tensor" in value else None


def _symbolic(read: Callable[[Any], Any]) -> Callable[[Mapping[str, Any]], Any]:
    """A number, or the name of one."""

    def decode(value: Mapping[str, Any]) -> Any:  # noqa: ANN401
        ((kind, inner),) = value.items()
        return Ref(_string(inner)) if kind == "as_name" else read(inner)

    return decode


def _many(read: Callable[[Any], Any]) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda values: [read(value) for value in values]


_MEMORY = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "as_none": lambda _: None,
    "as_tensor": _ref,
    "as_tensors": _many(_ref),
    "as_optional_tensor": _perhaps,
    "as_optional_tensors": _many(_perhaps),
    "as_int": _int,
    "as_ints": _many(_int),
    "as_float": _float,
    "as_floats": _many(_float),
    "as_bool": _bool,
    "as_bools": _many(_bool),
    "as_string": _string,
    "as_sym_int": _symbolic(_int),
    "as_sym_ints": _many(_symbolic(_int)),
    "as_sym_float": _symbolic(_float),
    "as_sym_floats": _many(_symbolic(_float)),
    "as_sym_bool": _symbolic(_bool),
    "as_sym_bools": _many(_symbolic(_bool)),
    "as_scalar_type": DTYPES.__getitem__,
    "as_memory_format": _MEMORY.__getitem__,
    "as_layout": _layout,
    "as_device": lambda _: torch.device("cpu"),  # wherever it was saved, it runs here
}
"""How each kind of argument is read; the rest (graphs, custom objects, operators) is refused."""


def _argument(value: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    ((kind, inner),) = value.items()
    read = _KINDS.get(kind)
    if read is None:
        raise UnsafeInput(
            f"{name}: a call takes an argument of kind {kind[:40]!a}, which no layer needs",
            hint="nothing was executed; export to ONNX, or give the weights with --arch",
        )
    return read(inner)


def _refuse_training(step: Step, name: str) -> None:
    named = named_arguments(step.target, step.args, step.kwargs)
    if named.get("train") is True or named.get("training") is True:
        where = f" ({step.path})" if step.path else ""
        raise InputRefused(
            f"{name} was saved in training mode: it calls {step.target}{where} with training=True",
            hint="call model.eval() before torch.export.export",
        )
