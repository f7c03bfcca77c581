"""An exported program (functional ATen) becomes a layer graph.

What depends only on weights is evaluated now, in the program's own precision: the stored network is
what the deployed one computes with.  What depends on the input becomes a node; a call without a rule
becomes an `Unsupported` node that still runs, so that outputs, accuracy and attacks stay available.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx.node import Node as FxNode
from torch.fx.node import map_arg
from torch.utils._pytree import tree_map_only

from lipaudit import errors
from lipaudit.errors import InputRefused
from lipaudit.graph.graph import INPUT, LayerGraph
from lipaudit.graph.node import Node, Op, Origin, Unsupported
from lipaudit.load.labels import Titles, titled
from lipaudit.ops import OPS, PAIRS, Args, Live, OpSpec, Untranslatable
from lipaudit.ops.activation import why_unbounded
from lipaudit.ops.pairs import paired, unpaired

__all__ = ["translate"]


_FINE = (torch.float32, torch.float64, torch.complex64, torch.complex128)
OURS = tuple(str(Path(module).parent) for module in (torch.__file__, errors.__file__))
"""Source files under these folders are not the user's."""

SHAPED: dict[str, float | None] = {
    "aten.zeros_like.default": 0.0,
    "aten.new_zeros.default": 0.0,
    "aten.ones_like.default": 1.0,
    "aten.new_ones.default": 1.0,
    "aten.full_like.default": None,
    "aten.new_full.default": None,
}
"""Constants in the shape or type of a tensor, by the number they hold; None is the argument `fill_value`."""


class Value(NamedTuple):
    """What a call returns: the shape of its node, and whether that is one of pairs (`Live.paired`)."""

    shape: tuple[int, ...]
    paired: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Several:
    """The outputs of one call, still to be picked from: an op (or a reason) for each."""

    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    values: tuple[Value, ...]
    origin: Origin


@dataclass(slots=True, eq=False)
class _Translation:
    """State of one translation: what each fx node has become."""

    titles: Titles
    stored: Mapping[str, str]
    reserved: frozenset[str]
    values: dict[FxNode, Any] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    names: set[str] = field(default_factory=lambda: {INPUT})

    def add(self, node: FxNode, op: Op, inputs: tuple[str, ...], value: Value, origin: Origin) -> Live:
        name = _module_of(node, self.titles)
        if not name:  # a function: told by whose weights it takes, if they are a module's
            owner = self._owner(node)
            name = self._made_up(f"{owner}:{node.name}" if owner else node.name)
        elif name in self.names:  # a module of several calls: they are told apart by the exporter's names
            name = self._made_up(f"{name}:{node.name}")
        self.names.add(name)
        self.nodes.append(Node(name, op, inputs, value.shape, origin))
        made = node.meta.get("val")
        floating = not isinstance(made, Tensor) or made.is_floating_point() or made.is_complex()
        return Live(name, value.shape, value.paired, floating)

    def _owner(self, node: FxNode) -> str:
        """The module that holds a tensor from which the call's constants are made; "" if none does."""
        open_ones, seen = list(node.all_input_nodes), set()
        while open_ones:
            source = open_ones.pop(0)
            if source in seen or not isinstance(self.values.get(source), Tensor):
                continue
            seen.add(source)
            if owner := self.stored.get(source.name, "").rpartition(".")[0]:
                return owner
            open_ones += source.all_input_nodes
        return ""

    def _made_up(self, name: str) -> str:
        """A name that is no module's, whether that one was met already or not."""
        while name in self.names or name in self.reserved:
            name += "'"
        return name


def translate(program: ExportedProgram, titles: Titles | None = None) -> LayerGraph:
    """The layer graph of a decomposed program with one input and one output, batch 1.

    Args:
        program: functional ATen only.
        titles: what the file calls its modules.

    Raises:
        InputRefused: if the program has several inputs or outputs, or its output is a constant.
    """
    titles = titles or {}
    signature = program.graph_signature
    held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    stored = {name: titled(target, titles) for name, target in held.items()}
    state = _Translation(titles, stored, frozenset(_module_of(node, titles) for node in program.graph.nodes))
    constants = _constants(program)
    shape: tuple[int, ...] | None = None
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name in constants:
                state.values[node] = constants[node.name]
                continue
            if shape is not None:
                raise InputRefused(
                    "the model takes several inputs", hint="export it with a single input tensor"
                )
            shape = _input_shape(node.meta.get("val"))
            state.values[node] = Live(INPUT, shape)
        elif node.op == "call_function":
            if _returns_nothing(node):
                continue  # an assertion about shapes or types
            state.values[node] = _call(state, node)
        elif node.op != "output":
            raise InputRefused(f"the exported program holds a {node.op} node, which has no translation")
    if shape is None:
        raise InputRefused("the model takes no input")
    return LayerGraph(shape, tuple(state.nodes), _output(state, program))


def _input_shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, Tensor):
        raise InputRefused("the model takes an argument that is no tensor")
    if value.is_complex():
        raise InputRefused("the model takes complex numbers", hint="export it with a real input")
    return tuple(int(n) for n in value.shape)


def _constants(program: ExportedProgram) -> dict[str, Tensor]:
    signature = program.graph_signature
    found: dict[str, Tensor] = {}
    for name, target in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items():
        held = program.state_dict if target in program.state_dict else program.constants
        found[name] = held[target].detach()
    for name, target in signature.inputs_to_lifted_tensor_constants.items():
        found[name] = program.constants[target].detach()
    return found


def _output(state: _Translation, program: ExportedProgram) -> str:
    (output,) = [n for n in program.graph.nodes if n.op == "output"]
    results = list(output.args[0])
    if len(results) != 1:
        raise InputRefused(
            f"the model returns {len(results)} tensors", hint="export a model that returns its logits only"
        )
    value = state.values[results[0]]
    if not isinstance(value, Live):
        raise InputRefused("the model's output does not depend on its input")
    return value.name


def _call(state: _Translation, node: FxNode) -> object:
    """What one call becomes: a constant, a live value, or several to pick from."""
    args, kwargs = (
        map_arg(node.args, state.values.__getitem__),
        map_arg(node.kwargs, state.values.__getitem__),
    )
    if node.target is operator.getitem:
        index: Any = args[1]
        return _pick(state, node, args[0], index)
    live = _live_in([args, kwargs])
    named = _by_name(node, args, kwargs)
    _refuse_chance(node, named)
    if live and str(node.target) in SHAPED and not isinstance(named.get("fill_value"), Live):
        return _filled(node, named)
    if not live:
        with torch.no_grad():
            return node.target(*args, **kwargs)  # type: ignore[operator]
    origin = _origin(node)
    values = _values(node)
    call = Args(str(node.target), named, values[0].shape, paired=values[0].paired)
    try:
        _refuse_coarse(node)
        pairs = any(v.paired for v in values) or any(v.paired for v in live)
        made = _translated(call, PAIRS if pairs else OPS)
    except (Untranslatable, InputRefused) as why:
        op = Unsupported(str(node.target), str(why), _runner(state, node), _scalars(args))
        made, call.inputs = (op,) * len(values) if len(values) > 1 else op, [v.name for v in live]
    if isinstance(made, tuple):
        ops = tuple(op or Unsupported(str(node.target), _no_index(node), _runner(state, node)) for op in made)
        return Several(ops, tuple(call.inputs), values, origin)
    return state.add(node, made, tuple(call.inputs), values[0], origin)


def _filled(node: FxNode, named: Mapping[str, Any]) -> Tensor:
    """A constant of which the input gives shape and type only."""
    fill = SHAPED[str(node.target)]
    value = named["fill_value"] if fill is None else fill
    like: Tensor = node.meta["val"]
    return torch.full(like.shape, value, dtype=like.dtype)


def _refuse_coarse(node: FxNode) -> None:
    """A result in whole numbers or less than float32 is rounded by steps that the slope does not show.

    Only the first result counts: indices beside a maximum are told apart later.
    """
    value = node.meta["val"]
    first = value[0] if isinstance(value, list | tuple) else value
    if isinstance(first, Tensor) and first.dtype not in _FINE:
        kind = str(first.dtype).removeprefix("torch.")
        why = why_unbounded(_operation(str(node.target)))
        raise Untranslatable(why or f"{node.target} computes in {kind}, which rounds in coarse steps")


def _returns_nothing(node: FxNode) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not schema.returns


def _refuse_chance(node: FxNode, named: Mapping[str, Any]) -> None:
    """Random numbers and uninitialised memory make no function."""
    name = str(node.target)
    # Dropout has a row of its own, which looks at its mode; attention and recurrent layers without dropout,
    # or not in training, draw nothing.
    drawn = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    quiet = any(named.get(key, 1) in (0, False) for key in ("dropout_p", "dropout", "train", "training"))
    if drawn and name not in OPS and not quiet:
        raise InputRefused(f"the model calls {name}, which is random", hint="export it in eval mode")
    if re.match(r"aten\.(new_)?empty(_|\.|$)", name):
        raise InputRefused(f"the model calls {name}, which reads uninitialised memory")


def _translated(call: Args, table: Mapping[str, OpSpec]) -> Op | tuple[Op | None, ...]:
    row = table.get(call.target)
    if row is None:
        of = "" if table is OPS else " of complex numbers"
        raise Untranslatable(why_unbounded(_operation(call.target)) or f"no rule for {call.target}{of}")
    made = row.translate(call)
    call.done()
    return made


def _operation(target: str) -> str:
    """The middle of `aten.relu.default`."""
    return target.split(".")[1] if "." in target else target


def _no_index(node: FxNode) -> str:
    return f"the indices returned by {node.target} are discontinuous in the input"


def _pick(state: _Translation, node: FxNode, source: Any, index: int) -> object:  # noqa: ANN401
    if not isinstance(source, Several):
        return source[index]
    if isinstance(source.ops[index], Unsupported):
        op: Op = _picking(source.ops[index], index)
    else:
        op = source.ops[index]
    return state.add(node, op, source.inputs, source.values[index], source.origin)


def _picking(op: Op, index: int) -> Op:
    """An unsupported call with several results still runs: its result number `index`."""
    run = getattr(op, "run", None)
    reason = getattr(op, "reason", "")
    picked = None if run is None else (lambda *xs: run(*xs)[index])
    return Unsupported(op.name, reason, picked)


def _live_in(tree: Any) -> list[Live]:  # noqa: ANN401
    found: list[Live] = []
    if isinstance(tree, Live):
        found.append(tree)
    elif isinstance(tree, dict):
        for value in tree.values():
            found += _live_in(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            found += _live_in(value)
    elif isinstance(tree, Several):
        raise InputRefused("a call takes the whole tuple of another call, which has no translation")
    return found


def _runner(state: _Translation, node: FxNode) -> Callable[..., Tensor]:
    """Run the original call in float64, live values filled in by order of appearance."""
    target: Any = node.target
    known = {used: state.values[used] for used in node.all_input_nodes}

    def run(*xs: Tensor) -> Tensor:
        feed = iter(xs)

        def fill(used: FxNode) -> Any:  # noqa: ANN401
            value = known[used]
            if isinstance(value, Live):
                x = next(feed)
                return unpaired(x) if value.paired else x
            if isinstance(value, Tensor) and value.is_complex():
                return value.to(xs[0].device, torch.promote_types(xs[0].dtype, torch.complex64))
            floating = isinstance(value, Tensor) and value.is_floating_point()
            return value.to(xs[0]) if floating else value

        made = target(*map_arg(node.args, fill), **map_arg(node.kwargs, fill))
        result: Tensor = tree_map_only(Tensor, lambda t: paired(t) if t.is_complex() else t, made)
        return result

    return run


def _scalars(args: Any) -> tuple[float, ...]:  # noqa: ANN401
    """Plain numbers among the arguments, one-element constant tensors included."""
    found = [float(a) for a in args if isinstance(a, int | float)]
    tensors = [a for a in args if isinstance(a, Tensor) and a.numel() == 1 and not a.is_complex()]
    return tuple(found + [float(t) for t in tensors])


def _by_name(node: FxNode, args: Any, kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
    """Every schema argument of the call, defaults filled in."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    named: dict[str, Any] = {}
    for position, argument in enumerate(schema.arguments):
        if position < len(args):
            named[argument.name] = args[position]
        elif argument.name in kwargs:
            named[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            named[argument.name] = argument.default_value
    return named


def _values(node: FxNode) -> tuple[Value, ...]:
    value = node.meta["val"]
    values = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(n, int) for v in values if isinstance(v, Tensor) for n in v.shape):
        raise InputRefused(
            f"the size of {node.name} ({node.target}) depends on values, so it has no static shape",
            hint="export the model without boolean masks and the like",
        )
    return tuple(_value(v) for v in values)


def _value(value: object) -> Value:
    if not isinstance(value, Tensor):
        return Value(())
    shape = tuple(int(n) for n in value.shape)
    return Value((*shape, 2), paired=True) if value.is_complex() else Value(shape)


def _origin(node: FxNode) -> Origin:
    trace = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [frame for frame in trace if not frame[0].startswith(OURS) and "/onnx2torch/" not in frame[0]]
    location = f"{own[-1][0].rsplit('/', 1)[-1]}:{own[-1][1]}" if own else ""
    return Origin(str(node.target), location)


def _module_of(node: FxNode, titles: Titles) -> str:
    """What the file calls the module in which the call stands; "" if it stands in none."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    if not paths:
        return ""
    # A node of an ONNX file is a module of the root, whatever modules it is made of.
    return titles.get(paths[-1].partition(".")[0], paths[-1])
