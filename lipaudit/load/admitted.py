"""Which operators a torch.export archive may call, by name alone.

Admitted are functional ATen operators that torch tags as core, those that this program has rules for, a few
more of the kind that networks use, and the in-place forms of all these; plus arithmetic of sizes.  Other
name spaces, custom operators, control flow, and operators that touch files or raw memory are not, and nothing
is looked up outside of these tables: torch's own loader follows dots from `torch`, so that `torch.hub.load`
is an operator to it.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from lipaudit.ops import OPS

__all__ = ["admitted", "arguments_of", "is_assertion", "is_random", "is_size", "named_arguments"]

_TARGET = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]{1,80})\.([A-Za-z0-9_]{1,80})", re.ASCII)

_MORE = frozenset(
    {"_unsafe_view", "_unsafe_index", "_weight_norm", "_weight_norm_interface", "_safe_softmax", "addmv"}
    | {
        "dot",
        "mv",
        "outer",
        "vdot",
        "baddbmm",
        "addbmm",
        "norm",
        "linalg_vector_norm",
        "linalg_norm",
        "mT",
        "numpy_T",
    }
    | {"linalg_matrix_norm", "linalg_matrix_exp", "matrix_exp", "linalg_householder_product", "linalg_qr"}
    | {"linalg_solve", "linalg_inv", "linalg_multi_dot", "tril", "triu", "eye", "zeros", "zeros_like"}
    | {"ones", "ones_like", "new_zeros", "new_ones", "new_full", "arange", "linspace", "lift_fresh_copy"}
    | {"lift_fresh", "zero", "copy", "square", "floor_divide", "float_power", "sgn", "exp2", "cumprod"}
    | {"std", "std_mean", "var_mean", "argsort", "masked_fill", "instance_norm", "local_response_norm"}
    | {"rms_norm", "lstm", "gru", "rnn_tanh", "rnn_relu", "scaled_dot_product_attention", "tensordot"}
    | {"glu", "hardshrink", "rrelu", "tanhshrink", "softsign", "grid_sampler", "affine_grid_generator"}
    | {"upsample_bicubic2d", "upsample_linear1d", "upsample_trilinear3d", "_upsample_bilinear2d_aa"}
    | {"_upsample_bicubic2d_aa", "unfold", "im2col", "tile", "movedim", "moveaxis", "swapaxes", "swapdims"}
    | {"expand_as", "view_as", "reshape_as", "hstack", "vstack", "dstack", "column_stack", "broadcast_to"}
    | {"rot90", "lerp", "cosine_similarity", "pairwise_distance", "cdist", "addcmul", "addcdiv", "xlogy"}
    | {"repeat_interleave", "index_copy", "index_add", "diag", "trace", "diag_embed", "kron", "cross"}
    | {"narrow", "meshgrid", "view_as_real", "view_as_complex", "real", "imag", "complex", "polar", "_conj"}
    | {"conj_physical", "resolve_conj", "inverse", "linalg_eigh", "linalg_vecdot", "mH", "adjoint"}
)
"""Beside core operators and those with a rule: what keeps a network from being refused where it is only
unbounded, or computes weights from others."""

_NEVER = frozenset(
    {"as_strided", "as_strided_", "resize", "resize_", "resize_as_", "set_", "from_file", "nonzero"}
    | {"empty", "empty_strided", "empty_like", "new_empty", "_local_scalar_dense", "masked_select"}
)
"""They reach beyond a tensor's own entries, touch files, or have a size that depends on values."""

_ASSERTIONS = re.compile(
    r"torch\.ops\.aten\.(_assert_\w+|sym_constrain_range\w*)\.\w+|torch\.sym_constrain_range\w*", re.ASCII
)
"""About sizes that were open when the program was saved; it runs at one size here."""

_WHOLE = 1 << 63


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Arithmetic of sizes; numbers that are none are refused before they grow."""

    def call(*operands: Any) -> Any:  # noqa: ANN401
        if not all(isinstance(operand, int | float) for operand in operands):
            raise TypeError("a size is no number")
        result = function(*operands)
        if isinstance(result, int) and abs(result) >= _WHOLE:
            raise OverflowError("a size beyond 2⁶³")
        return result

    return call


_OPERATORS = (
    *("add", "sub", "mul", "floordiv", "mod", "truediv", "neg", "pos", "and_", "or_"),
    *("eq", "ne", "lt", "le", "gt", "ge"),
)
_SIZES: Mapping[str, Callable[..., Any]] = {
    **{f"_operator.{name}": _bounded(getattr(operator, name)) for name in _OPERATORS},
    "math.trunc": _bounded(math.trunc),
    "math.floor": _bounded(math.floor),
    "math.ceil": _bounded(math.ceil),
    "torch.sym_max": _bounded(max),
    "torch.sym_min": _bounded(min),
    "torch.sym_not": _bounded(operator.not_),
    "torch.sym_int": _bounded(int),
    "torch.sym_float": _bounded(float),
}
"""Arithmetic of sizes, by the exporter's names."""


def admitted(target: str) -> Callable[..., Any] | None:
    """The admitted operator of that name."""
    if target in _SIZES:
        return _SIZES[target]
    parts = _TARGET.fullmatch(target)
    if parts is None or parts[1] in _NEVER or parts[1].startswith("__"):
        return None
    packet = getattr(torch.ops.aten, parts[1], None)
    if not isinstance(packet, torch._ops.OpOverloadPacket) or parts[2] not in packet.overloads():  # noqa: SLF001
        return None
    overload: Any = getattr(packet, parts[2])
    written = [a.name for a in arguments_of(overload) if a.alias_info is not None and a.alias_info.is_write]
    in_place = parts[1].endswith("_")
    if written and not (in_place and written == ["self"]):
        return None
    return overload if _is_known(parts[1].removesuffix("_") if in_place else parts[1]) else None


def _is_known(name: str) -> bool:
    if name in _MORE:
        return True
    packet = getattr(torch.ops.aten, name, None)
    if not isinstance(packet, torch._ops.OpOverloadPacket):  # noqa: SLF001
        return False
    return any(
        f"aten.{name}.{overload}" in OPS or torch.Tag.core in getattr(packet, overload).tags
        for overload in packet.overloads()
    )


def is_random(target: str) -> bool:
    """Whether it is an ATen operator that draws random numbers."""
    parts = _TARGET.fullmatch(target)
    packet = None if parts is None else getattr(torch.ops.aten, parts[1], None)
    if not isinstance(packet, torch._ops.OpOverloadPacket):  # noqa: SLF001
        return False
    return any(torch.Tag.nondeterministic_seeded in getattr(packet, o).tags for o in packet.overloads())


def is_size(target: str) -> bool:
    """Whether it is arithmetic of sizes."""
    return target in _SIZES


def is_assertion(target: str) -> bool:
    """Whether it only asserts something about sizes."""
    return _ASSERTIONS.fullmatch(target) is not None


def named_arguments(
    target: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by the names of its schema; empty for arithmetic of sizes."""
    return {**dict(zip((a.name for a in arguments_of(target)), args, strict=False)), **kwargs}


def arguments_of(target: Callable[..., Any]) -> Sequence[Any]:
    """The arguments in an operator's schema; none for arithmetic of sizes."""
    schema = getattr(target, "_schema", None)
    return () if schema is None else schema.arguments
