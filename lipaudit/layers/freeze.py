"""From layers that derive their weights to plain ones that store them.

    frozen = freeze(model)                        # after training, on images of one size
    frozen = freeze(model, example)               # of a model that was just loaded
    torch.onnx.export(frozen, (example,), "model.onnx", dynamo=True)

Give it an example: it tells convolutions the size of their images, and the answers to it are compared.

Every layer of this package becomes an `nn.Linear`, an `nn.Conv2d`, or one of four blocks that store their
weights, under the same name.  Effective weights are derived in float64, rounded to the parameters' type, and
scaled down until `lipaudit.spectral` proves their norm to be at most 1, where rounding or a formula left them
above.  Other modules stay as they are, and are not judged: the audit of the exported file judges the whole.

What is frozen computes what the layer computes, or is an error: a layer that hooks or a subclass make another
function is refused.  So that nothing else does (a decoder that uses the free weight of its encoder, say), the
frozen network is compared with the given one at the example: ‖z − y‖ ≤ `CLOSE`·(‖x‖ + ‖y‖), where rounding is
less than 1e-5 in each layer.  A convolution is frozen for one size of image.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lipaudit.errors import InputRefused, LipauditError, UsageError
from lipaudit.layers.derived import Derived, has_hooks, has_hooks_for_all
from lipaudit.layers.verified import Fit

__all__ = ["freeze", "structure"]

CLOSE = 1e-3


def freeze(model: nn.Module, example: Tensor | None = None) -> nn.Module:
    """A copy in evaluation mode whose layers store weights of proved norm.

    Args:
        model: any module with layers of this package; it stays as it is.
        example: an input, best always given: it tells each layer the size of its images, and the outputs for
            it are compared.  Without one, nothing is compared, and the size counts that a layer has met since
            its weights last changed.

    Raises:
        UsageError: the model is no module, or the example no tensor; a layer has met no image yet, or several
            sizes; it stands in a plain list, has forward hooks, or is of a subclass with a forward pass of
            its own; the frozen network computes something else.
        InputRefused: parameters hold NaN or infinity.
        Incomplete: derived weights are not finite, or a norm could not be bounded.
    """
    _check_kinds(model, example)
    for name, module in model.named_modules():
        _check_finite(name, module)
    return _plain(model, example, proves=True)


def structure(model: nn.Module, example: Tensor | None = None) -> nn.Module:
    """The same modules as `freeze` makes, with weights that nothing is proved of.

    For the factory of `--arch`, whose weights are replaced by stored ones: it saves the time of the proofs.

    Args:
        model: any module with layers of this package; it stays as it is.
        example: as of `freeze`.

    Raises:
        UsageError: as of `freeze`.
    """
    _check_kinds(model, example)
    return _plain(model, example, proves=False)


def _plain(model: nn.Module, example: Tensor | None, *, proves: bool) -> nn.Module:
    if has_hooks_for_all():
        raise UsageError(
            "freeze: there are forward hooks for all modules, which frozen layers would drop",
            hint="remove the handles of torch.nn.modules.module.register_module_forward_hook and the like",
        )
    known = {id(module) for module in model.modules()}
    for name, module in model.named_modules():
        _check_registered(name, module, known)
        if isinstance(module, Derived):
            _check_function(name, module)
    copied = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    layers = {name: layer for name, layer in copied.named_modules() if isinstance(layer, Derived)}
    wanted = None if example is None else _look(copied, layers, example)
    made = {id(layer): _frozen(name, layer, proves=proves) for name, layer in layers.items()}
    frozen = made.get(id(copied), copied)
    for module in list(copied.modules()):
        # Not `named_children`, which names a module once, however often it is registered.
        for name, child in list(module._modules.items()):  # noqa: SLF001 - torch has no other list of them
            if id(child) in made:
                setattr(module, name, made[id(child)])
    if example is not None and proves:
        _compare(frozen, example, wanted)
    return frozen


def _compare(frozen: nn.Module, example: Tensor, wanted: object) -> None:
    """Refuse a network that computes something else than the given one, which answered `wanted`."""
    with torch.no_grad():
        found = frozen(example)
    for y, z in zip(tree_leaves(wanted), tree_leaves(found), strict=True):
        if not isinstance(y, Tensor) or not y.numel():
            continue
        distance, size = float((z - y).double().norm()), float(y.double().norm())
        allowed = CLOSE * (float(example.double().norm()) + size)
        # Written so that NaN is refused as well.
        if not distance <= allowed:
            raise UsageError(
                f"freeze: the frozen network answers the example with another output: {distance:.2g} away "
                f"from one of norm {size:.2g}, where {allowed:.2g} is allowed",
                hint="does a module use the free weight of one of these layers, or draw random numbers?",
            )


def _check_kinds(model: object, example: object) -> None:
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"freeze: the model is of type {type(model).__name__}, not a torch.nn.Module",
            hint="build the network, load its weights with load_state_dict, then freeze it",
        )
    if example is not None and not isinstance(example, Tensor):
        raise UsageError(
            f"freeze: the example is of type {type(example).__name__}, not a torch.Tensor",
            hint="pass what the model is called with, freeze(model, images[:1]); torch.as_tensor makes "
            "tensors of arrays",
        )


def _check_registered(name: str, module: nn.Module, known: set[int]) -> None:
    """Refuse layers in plain lists and dicts, which torch does not list among the modules."""
    for key, value in vars(module).items():
        for leaf in tree_leaves(value):
            if not isinstance(leaf, nn.Module) or id(leaf) in known:
                continue
            if any(isinstance(part, Derived) for part in leaf.modules()):
                raise UsageError(
                    f"freeze: module {name!r} keeps layers in {key!r} ({type(value).__name__}), where torch "
                    "does not see them: they would stay as they are",
                    hint="make it an nn.ModuleList or nn.ModuleDict (parameters() lacks their weights, too), "
                    "or take away what the network does not use",
                )


def _check_finite(name: str, module: nn.Module) -> None:
    for key, value in module.named_parameters(recurse=False):
        if not bool(value.isfinite().all()):
            raise InputRefused(
                f"freeze: layer {name!r}: parameter {key!r} holds NaN or infinity",
                hint="training went wrong: nothing can be proved of such a network",
            )


def _check_function(name: str, layer: Derived) -> None:
    """Refuse a layer whose call does more than its `run`, as `frozen` knows it."""
    if any(map(has_hooks, layer.modules())):
        raise UsageError(
            f"freeze: layer {name!r} has forward hooks, which a frozen layer would drop",
            hint="remove them; for torch's older spectral_norm and weight_norm, which work by hooks, "
            "torch.nn.utils.remove_spectral_norm and remove_weight_norm leave the weight as it is; for "
            "pruned weights torch.nn.utils.prune.remove does",
        )
    kind = type(layer)
    for method in ("forward", "run"):
        own, frozen = (_owner(kind, called) for called in (method, "frozen"))
        if method in vars(layer) or not issubclass(frozen, own):
            raise UsageError(
                f"freeze: layer {name!r} ({kind.__name__}) has its own {method}(), unknown to frozen()",
                hint="override derive() instead, put the change into a module around the layer, or override "
                "frozen() as well",
            )


def _owner(kind: type[Derived], method: str) -> type:
    return next(base for base in kind.__mro__ if method in vars(base))


def _look(model: nn.Module, layers: dict[str, Derived], example: Tensor) -> object:
    """Let every layer see its image once; what the model answers."""
    seen: dict[str, tuple[int, ...] | None] = {}

    def watch(name: str, layer: Derived) -> None:
        if seen.setdefault(name, layer.image) != layer.image:
            raise UsageError(
                f"freeze: layer {name!r} meets images of {seen[name]} and of {layer.image}",
                hint="use one layer per size of image",
            )
        layer.images = () if layer.image is None else (layer.image,)

    handles = [
        layer.register_forward_hook(lambda module, _in, _out, name=name: watch(name, module))
        for name, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            answer: object = model(example)
    finally:
        for handle in handles:
            handle.remove()
    for name, layer in layers.items():
        if name not in seen and layer.reads_images and len(layer.images) != 1:
            raise UsageError(
                f"freeze: the example does not reach layer {name!r}, and no size of image is known for it",
                hint="take the layer out of the model, or pass an example for which the model calls it",
            )
    return answer


def _frozen(name: str, layer: Derived, *, proves: bool) -> nn.Module:
    """One layer, with what stands before and behind it."""
    image = layer.image
    if image is None and not layer.reads_images:
        image = ()
    if image is None:
        raise UsageError(
            f"freeze: layer {name!r} has met no image yet",
            hint="pass an input of the model: freeze(model, example)",
        )
    if layer.reads_images and len(layer.images) > 1:
        raise UsageError(
            f"freeze: layer {name!r} has met images of {' and of '.join(map(str, layer.images))}",
            hint="pass an input of the size to freeze it for: freeze(model, example)",
        )
    fit = Fit(next(layer.parameters()).dtype, proves)
    # A copy: other modules may share its parameters.
    layer = copy.deepcopy(layer).double()
    try:
        with torch.no_grad():
            core = layer.frozen(image, fit, *layer.derive(image))
    except LipauditError as error:
        raise type(error)(f"freeze: layer {name!r}: {error.message}", hint=error.hint) from error
    parts = [*layer.before, core, *layer.after]
    plain = core if len(parts) == 1 else nn.Sequential(*parts)
    return plain.eval().requires_grad_(requires_grad=False)
