"""Complex numbers as pairs of real ones: a complex tensor of shape S is a real one of shape (*S, 2).

|a + bi|² = a² + b², so norms are the same, and what is linear over the complex numbers is linear over the
real ones:

    (w x)   is   [re, −im; im, re] (re x, im x),        conj x   is   diag(1, −1) x,

hence a complex matrix W is the real one with a 2×2 block for each entry, of the same norm (its singular
values come twice).  Moves of complex numbers are moves of pairs: the last axis comes along.

`PAIRS` holds the calls that may take or return complex tensors.  No other call does: a function of complex
numbers with another derivative than it has on the real line (a product, a modulus, tanh) has no rule here.

Horn, Johnson (2013), Matrix Analysis, 2nd ed., 1.3.P20.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from lipaudit.graph.node import Op, Shape
from lipaudit.ops import arithmetic, concat, fourier, shape
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.concat import Concat
from lipaudit.ops.contraction import Contraction, einsum_of, indices_of, product_of
from lipaudit.ops.shape import Relayout
from lipaudit.ops.spec import Args, Live, OpSpec, Untranslatable, checked_table

__all__ = ["PAIRS", "paired", "unpaired"]

_REAL = checked_table([arithmetic.ROWS, concat.ROWS, shape.ROWS])


def paired(value: Tensor) -> Tensor:
    """A tensor as pairs in float64; real numbers get the imaginary part 0."""
    if value.is_complex():
        return torch.view_as_real(value.detach().resolve_conj().to(torch.complex128)).contiguous()
    return F.pad(value.detach().double()[..., None], (0, 1))


def unpaired(value: Tensor) -> Tensor:
    """The complex tensor of such pairs."""
    return torch.view_as_complex(value.contiguous())


Rewrite = Callable[[Any, int], Any]
"""From an argument of a call on complex tensors of so many axes to the one on pairs."""


def _axis(dim: int, rank: int) -> int:
    return dim % rank


def _new_axis(dim: int, rank: int) -> int:
    return dim % (rank + 1)


def _axes(dims: Sequence[int], rank: int) -> list[int]:
    if not dims:
        raise Untranslatable("moving a complex tensor as one row has no rule")
    return [d % rank for d in dims]


def _order(dims: Sequence[int], rank: int) -> list[int]:
    return [*_axes(dims, rank), rank]


def _repeats(repeats: Sequence[int], rank: int) -> list[int]:
    del rank
    return [*repeats, 1]


def _widths(pad: Sequence[int], rank: int) -> list[int]:
    del rank
    return [0, 0, *pad]


def _zeros(value: float | None, rank: int) -> float | None:
    del rank
    if value:
        raise Untranslatable("only zeros are padded to complex tensors")
    return value


def _by_constant(mode: str, rank: int) -> str:
    del rank
    if mode != "constant":
        raise Untranslatable(f"padding of complex tensors in mode {mode} has no rule")
    return mode


def _moved(**rewrites: Rewrite) -> Callable[[Args], Op | tuple[Op | None, ...]]:
    """A call of a real row that leaves the last axis in place, with some arguments rewritten."""

    def translate(args: Args) -> Op | tuple[Op | None, ...]:
        live = _all_paired(args)
        rank = len(live[0].shape) - 1
        values = {
            name: rewrites[name](value, rank) if name in rewrites else value
            for name, value in args.values.items()
        }
        return _REAL[args.target].translate(Args(args.target, values, args.output, args.inputs, args.seen))

    return translate


def _all_paired(args: Args) -> list[Live]:
    """The live operands, all of them complex.

    Raises:
        Untranslatable: some are real.
    """
    given = [
        v for value in args.values.values() for v in (value if isinstance(value, list | tuple) else [value])
    ]
    live = [v for v in given if isinstance(v, Live)]
    if not all(v.paired for v in live):
        raise Untranslatable(f"{args.target} of real and complex tensors together has no rule")
    return live


def _members(tensors: Sequence[Live | Tensor], rank: int) -> list[Live | Tensor]:
    del rank
    return [m if isinstance(m, Live) else paired(_known(m)) for m in tensors]


def _added(value: Any, rank: int) -> Any:  # noqa: ANN401 - a number or a tensor
    """A summand: live as it is, constant as pairs."""
    del rank
    return value if isinstance(value, Live) else paired(_known(value))


def _factor(alpha: complex, rank: int) -> complex:
    del rank
    if isinstance(alpha, complex):
        raise Untranslatable("a sum with a complex factor has no rule")
    return alpha


def _known(value: Tensor | complex) -> Tensor:
    """A constant as a tensor, no number of it rounded.

    Raises:
        Untranslatable: whole numbers beyond 2⁵³.
    """
    if not isinstance(value, Tensor):
        kind = torch.complex128 if isinstance(value, complex) else torch.float64
        return torch.tensor(value, dtype=kind)
    whole = not value.is_floating_point() and not value.is_complex()
    if whole and value.numel() and int(value.abs().max()) > 2**53:
        raise Untranslatable("whole numbers beyond 2⁵³ would be rounded")
    return value.detach().resolve_conj()


def _identity(args: Args) -> Relayout:
    """Pairs seen as complex numbers, or the other way round."""
    args.ref("self")
    return Relayout("identity", lambda x: x, lambda x: x)


def _part(index: int) -> Callable[[Args], Relayout]:
    def translate(args: Args) -> Relayout:
        args.ref("self")
        return Relayout("select", lambda x: x.select(-1, index), lambda x: x.select(-1, index))

    return translate


def _cast(args: Args) -> Relayout:
    """To another precision, or to complex numbers with the imaginary part 0."""
    (live,) = (v for v in args.values.values() if isinstance(v, Live))
    args.ref("self")
    args.ignore(*args.values)
    if live.paired and args.paired:
        return Relayout("identity", lambda x: x, lambda x: x)
    if live.paired:
        raise Untranslatable("dropping imaginary parts in a cast has no rule: take the real part")

    def widened(x: Tensor) -> Tensor:
        return F.pad(x.unsqueeze(-1), (0, 1))

    return Relayout("pad", widened, widened)


def _from_parts(args: Args) -> Concat:
    """aten.complex(real, imag)."""
    shapes = [args.ref(name) for name in ("real", "imag") if args.is_live(name)]
    if len(shapes) != 2 or shapes[0] != shapes[1]:
        raise Untranslatable("a complex number with one constant part has no rule")
    return Concat(-1, (None, None), stack=True)


def _conjugate(args: Args) -> Affine:
    args.ref("self")
    mirror = torch.tensor([1.0, -1.0], dtype=torch.float64)
    return Affine(mirror, torch.zeros((), dtype=torch.float64), name="conjugate")


def _product(equation: str, weight: Tensor, read: Shape, args: Args, *, name: str) -> Contraction:
    """The real contraction of pairs for a complex one: an index r of x and s of the result for the parts."""
    live, constant, result = indices_of(equation)
    r, s = _fresh(equation)
    pairs = paired(weight)
    turned = torch.stack([-pairs[..., 1], pairs[..., 0]], -1)
    whole = torch.stack([pairs, turned], -2)  # (…, r, s): what part r of x adds to part s
    # Stored as the product reads it, or every call would lay it out anew.
    shared = "".join(index for index in constant if index in live and index in result)
    made = "".join(index for index in constant if index not in live)
    summed = "".join(index for index in constant if index not in result)
    names = f"{shared}{made}{s}{summed}{r}"
    stored = torch.einsum(f"{constant}{r}{s}->{names}", whole).contiguous()
    return Contraction(f"{live}{r},{names}->{result}{s}", stored, (*read, 2), args.output, name=name)


def _fresh(equation: str) -> tuple[str, str]:
    """Two letters that the equation has not."""
    first, second, *_ = (letter for letter in string.ascii_letters if letter not in equation)
    return first, second


def _stored(args: Args, name: str) -> Tensor:
    """A complex constant, finite.

    Raises:
        Untranslatable: it is live or not complex.
    """
    value = _known(args.attr(name))
    if not value.is_complex():
        raise Untranslatable(f"{name} of {args.target} must be a complex constant")
    return value


def _matmul(left: str, right: str) -> Callable[[Args], Contraction]:
    def translate(args: Args) -> Contraction:
        first = args.is_live(left)
        if first and args.is_live(right):
            raise Untranslatable("a product of two tensors that both depend on the input is unbounded")
        _all_paired(args)
        cells = args.ref(left if first else right)[:-1]
        weight = _stored(args, right if first else left)
        equation, read, stored = product_of(cells, tuple(weight.shape), first=first)
        return _product(equation, weight.reshape(stored), read, args, name="matmul")

    return translate


def _einsum(args: Args) -> Contraction:
    args.ignore("path")
    _all_paired(args)
    members = args.attr("tensors")
    args.inputs.extend(m.name for m in members if isinstance(m, Live))
    outer = [Live(m.name, m.shape[:-1]) if isinstance(m, Live) else m for m in members]
    equation, tensor, weight = einsum_of(args.attr("equation"), outer)
    return _product(equation, _known(weight), tensor.shape, args, name="einsum")


def _mul(args: Args) -> Op | tuple[Op | None, ...]:
    """A constant times a live tensor, broadcast."""
    if args.is_live("self") and args.is_live("other"):
        raise Untranslatable("a product of two tensors that both depend on the input is unbounded")
    name, fixed = ("self", "other") if args.is_live("self") else ("other", "self")
    (live,) = _all_paired(args)
    constant = _known(args.attr(fixed))
    if not constant.is_complex():
        values = {**args.values, fixed: constant[..., None]}
        return _REAL[args.target].translate(Args(args.target, values, args.output, args.inputs, args.seen))
    args.ref(name)
    full = args.output[:-1]
    shapes = [(1,) * (len(full) - len(shape)) + tuple(shape) for shape in (live.shape[:-1], constant.shape)]
    letters = string.ascii_lowercase[: len(full)]
    of_live, of_constant = (
        "".join(x for x, n in zip(letters, shape, strict=True) if n > 1) for shape in shapes
    )
    both = "".join(x for x in letters if x in of_live + of_constant)
    read, stored = (tuple(n for n in shape if n > 1) for shape in shapes)
    return _product(
        f"{of_live},{of_constant}->{both}", constant.reshape(stored), read, args, name="mul constant"
    )


def _div(args: Args) -> Op | tuple[Op | None, ...]:
    """By real constants."""
    divisor = None if args.is_live("other") else _known(args.values["other"])
    if divisor is None or divisor.is_complex():
        raise Untranslatable("only division by a real constant has a rule for complex numbers")
    _all_paired(args)
    values = {**args.values, "other": divisor[..., None]}
    return _REAL[args.target].translate(Args(args.target, values, args.output, args.inputs, args.seen))


_ROWS = (
    OpSpec(
        ("aten.view.default", "aten._unsafe_view.default", "aten.reshape.default", "aten.flatten.using_ints",
         "aten.unflatten.int", "aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims",
         "aten.unsqueeze.default", "aten._reshape_copy.default", "aten.view_copy.default",
         "aten.expand.default", "aten.alias.default", "aten.detach.default", "aten.lift_fresh_copy.default",
         "aten.contiguous.default", "aten.neg.default"),
        _moved(),
    ),
    OpSpec(("aten.permute.default",), _moved(dims=_order)),
    OpSpec(("aten.transpose.int",), _moved(dim0=_axis, dim1=_axis)),
    OpSpec(("aten.flip.default", "aten.roll.default"), _moved(dims=_axes)),
    OpSpec(("aten.repeat.default",), _moved(repeats=_repeats)),
    OpSpec(
        ("aten.select.int", "aten.slice.Tensor", "aten.index_select.default", "aten.split.Tensor",
         "aten.split_with_sizes.default", "aten.split.sizes", "aten.chunk.default", "aten.unbind.int"),
        _moved(dim=_axis),
    ),
    OpSpec(("aten.index.Tensor",), _moved()),
    OpSpec(
        ("aten.pad.default", "aten.constant_pad_nd.default"),
        _moved(pad=_widths, mode=_by_constant, value=_zeros),
    ),
    OpSpec(("aten.cat.default",), _moved(tensors=_members, dim=_axis)),
    OpSpec(("aten.stack.default",), _moved(tensors=_members, dim=_new_axis)),
    OpSpec(
        ("aten.add.Tensor", "aten.sub.Tensor", "aten.add.Scalar", "aten.sub.Scalar", "aten.rsub.Tensor",
         "aten.rsub.Scalar"),
        _moved(self=_added, other=_added, alpha=_factor),
    ),
    OpSpec(("aten.mul.Tensor", "aten.mul.Scalar"), _mul),
    OpSpec(("aten.div.Tensor", "aten.div.Scalar"), _div),
    OpSpec(("aten.mm.default", "aten.bmm.default"), _matmul("self", "mat2")),
    OpSpec(("aten.matmul.default",), _matmul("self", "other")),
    OpSpec(("aten.einsum.default",), _einsum),
    OpSpec(
        ("aten.view_as_real.default", "aten.view_as_complex.default", "aten.resolve_conj.default"), _identity
    ),
    OpSpec(("aten.real.default",), _part(0)),
    OpSpec(("aten.imag.default",), _part(1)),
    OpSpec(("aten.clone.default", "aten._to_copy.default", "aten.to.dtype"), _cast),
    OpSpec(("aten.complex.default",), _from_parts),
    OpSpec(("aten._conj.default", "aten.conj.default", "aten.conj_physical.default"), _conjugate),
)  # fmt: skip

PAIRS: Mapping[str, OpSpec] = checked_table([fourier.ROWS, _ROWS])
"""By ATen name: what may take or return complex tensors."""
