"""What of a module counts: its linear layers, and which batch norm belongs to which.

Every parameter has to be accounted for.  Dense layers and convolutions count with their weight, batch norm
with γ/√(v + ε), together with the layer directly before it where there is one; biases only shift.  Layers of
`lipaudit.layers` have constant 1 by construction, and modules without parameters count as nothing.  Any other
module that holds parameters, or divides by what it measures of a sample, is an error unless it is named in
`ignore`: it is never silently taken for 1.

Who follows whom is seen in a forward pass or, without one, read from `nn.Sequential`.  Where it is not known
that a batch norm alone takes what a layer returns, each of the two counts by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from lipaudit.errors import UsageError
from lipaudit.layers.activation import Householder
from lipaudit.layers.derived import Derived
from lipaudit.training.layer import KINDS, Kind, LinearLayer, Norm
from lipaudit.training.readers import Readers
from lipaudit.training.watch import Watch

__all__ = ["Structure"]

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
BY_CONSTRUCTION = (Derived, Householder)
MEASURING = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)
"""They divide by what they measure of each sample, with parameters or without."""
RULES = "dense layers, convolutions and batch norm count; `ignore` names what is not to"


@dataclass(slots=True, eq=False)
class Structure:
    """The parts of a module that count.

    Args:
        layers: dense layers and convolutions in the order of the module, each once.
        norms: batch norms, by name.
        sequences: in which the layer of a name stands directly before a batch norm.
    """

    layers: list[LinearLayer]
    norms: dict[str, Norm]
    sequences: dict[str, nn.Sequential]

    def __post_init__(self) -> None:
        if not self.layers and not self.norms:
            raise UsageError("the model has no linear layers", hint="pass the network itself")

    @classmethod
    def of(cls, model: nn.Module, ignore: Sequence[str] = ()) -> Structure:
        """Find them, with pairs as `nn.Sequential` shows them.

        Args:
            model: any module.
            ignore: names of modules (patterns as of a shell) that do not count, with all that they hold.

        Raises:
            UsageError: a module with parameters that has no rule, or nothing to count.
        """
        used: set[str] = set()
        found = list(_walk("", model, ignore, used, set()))
        if missed := set(ignore) - used:
            raise UsageError(
                f"ignore: no module is called {', '.join(sorted(missed))}",
                hint="names are those of named_modules()",
            )
        norms = {name: module for name, module in found if isinstance(module, NORMS)}
        layers = [
            LinearLayer(name, module, kind, image=None if kind.axes else ())
            for name, module in found
            if (kind := _kind(module)) is not None
        ]
        adjacent = _adjacent(model, layers)
        structure = cls(layers, norms, {name: sequence for name, (sequence, _) in adjacent.items()})
        structure.pair({name: after for name, (_, after) in adjacent.items()})
        return structure

    @classmethod
    def seen(cls, model: nn.Module, example: Tensor, ignore: Sequence[str] = ()) -> Structure:
        """Find them, with images and pairs as a forward pass in evaluation mode shows them.

        Args:
            model: any module; it stays as it was.
            example: an input.
            ignore: as of `of`.

        Raises:
            UsageError: as `of`.
        """
        structure = cls.of(model, ignore)
        modes = [(module, module.training) for module in model.modules()]
        readers = Readers()
        try:
            with torch.no_grad(), structure.watch(readers) as watch, readers:
                result = model.eval()(example)
        finally:
            for module, training in modes:
                module.training = training
        structure.learn(watch)
        del result  # it may hold what a layer returned, which someone reads then
        return structure

    @property
    def lone_norms(self) -> dict[str, Norm]:
        """Batch norms that count by themselves, since no layer comes directly before them."""
        paired = {id(layer.norm) for layer in self.layers}
        return {name: norm for name, norm in self.norms.items() if id(norm) not in paired}

    def parameters(self) -> list[nn.Parameter]:
        """Of all of them."""
        modules = [layer.module for layer in self.layers] + list(self.norms.values())
        return [parameter for module in modules for parameter in module.parameters()]

    def watch(self, readers: Readers | None = None) -> Watch:
        """Hooks on all of them; arguments as of `Watch`."""
        return Watch(self.layers, self.norms.values(), self.sequences, readers)

    def learn(self, watch: Watch) -> None:
        """Take over the images and pairs that were seen; layers that did not run keep what they had."""
        for layer in self.layers:
            layer.meet(watch.images.get(layer.name, ()))
        self.pair(watch.followers())

    def pair(self, followers: Mapping[str, nn.Module]) -> None:
        """Let batch norms count with the layers that they follow, in place of earlier pairs.

        Args:
            followers: what comes directly after the layer of a name.
        """
        known = {id(norm): norm for norm in self.norms.values()}
        for layer in self.layers:
            norm = known.get(id(followers.get(layer.name)))
            single = sum(other is norm for other in followers.values()) == 1
            layer.norm = norm if norm is not None and single and norm.num_features == layer.outputs else None


def _walk(
    name: str, module: nn.Module, ignore: Sequence[str], used: set[str], met: set[int]
) -> Iterator[tuple[str, nn.Module]]:
    """Layers and batch norms below a module, each once."""
    patterns = {pattern for pattern in ignore if name and fnmatchcase(name, pattern)}
    used |= patterns
    if patterns or id(module) in met:
        return
    met.add(id(module))
    _check(name, module)
    if isinstance(module, NORMS) or _kind(module) is not None:
        yield name, module
        return
    if isinstance(module, BY_CONSTRUCTION):
        return
    for child, part in module.named_children():
        yield from _walk(f"{name}.{child}" if name else child, part, ignore, used, met)


def _kind(module: nn.Module) -> Kind | None:
    """The row of `KINDS`, also of a parametrised layer, whose class torch derives anew."""
    return next((kind for base, kind in KINDS.items() if isinstance(module, base)), None)


def _check(name: str, module: nn.Module) -> None:
    """Refuse what would count for less than it does."""
    where = f"{name or 'the model'} ({type(module).__name__})"
    parameters = list(module.parameters(recurse=False))
    if any(map(is_lazy, parameters)):
        raise UsageError(f"{where} has no weights yet", hint="run the model once before")
    if isinstance(module, NORMS):
        if module.running_var is None:
            raise UsageError(f"{where} keeps no statistics: it has no constant", hint=RULES)
    elif _kind(module) is not None:
        if _has_own_pass(module):
            raise UsageError(f"{where} has a forward pass of its own", hint=RULES)
        if "weight" not in module._parameters and not is_parametrized(module, "weight"):  # noqa: SLF001
            raise UsageError(
                f"{where}: its weight is neither a parameter nor a parametrisation",
                hint="torch.nn.utils.parametrizations.weight_norm and spectral_norm replace the older hooks",
            )
    elif isinstance(module, MEASURING) or (parameters and not isinstance(module, BY_CONSTRUCTION)):
        raise UsageError(f"{where} has no rule", hint=RULES)


def _has_own_pass(module: nn.Module) -> bool:
    """Whether a subclass or an assignment made another function of a layer."""
    passes = ("forward", "_conv_forward")
    known = {getattr(base, name, None) for base in KINDS for name in passes}
    return any(getattr(type(module), name, None) not in known or name in vars(module) for name in passes)


def _adjacent(model: nn.Module, layers: Sequence[LinearLayer]) -> dict[str, tuple[nn.Sequential, nn.Module]]:
    """The `nn.Sequential` that each layer stands in, and what comes after it; both stand nowhere else."""
    names = {id(layer.module): layer.name for layer in layers}
    places = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    return {
        names[id(one)]: (module, other)
        for module in model.modules()
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
        for one, other in pairwise(module)
        if id(one) in names and places[id(one)] == places[id(other)] == 1
    }
