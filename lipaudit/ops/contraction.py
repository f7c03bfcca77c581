"""Products of a live tensor with a constant one: matmul in every broadcast, einsum with one live operand.

Each index of such a product is of one of four kinds:

    summed     not in the result: the columns of a matrix
    made       in the constant and the result only: its rows
    aligned    in both operands and the result: one matrix per value, side by side
    kept       in the live tensor and the result only: copies of the same map

so the map is a direct sum of copies of the matrices W_a (made × summed), and its norm is max_a ‖W_a‖.
Rounding of one pass: γ_{n+2} max_a ‖|W_a|‖ ‖x‖ with n terms per sum   (Higham 2002, sec. 3.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lipaudit.graph.node import BoundMap, Gain, Shape
from lipaudit.ops.linear import Linear, affine_error
from lipaudit.ops.spec import Args, Live, OpSpec, Untranslatable
from lipaudit.ops.stacked import stacked
from lipaudit.rounding import gamma, mul_up
from lipaudit.spectral.maps import Dense

__all__ = ["ROWS", "Contraction", "einsum_of", "indices_of", "product_of"]

MANY = 256
"""Different matrices in one product up to which each gets a bound of its own."""
_BATCH = "abcdefghlmnopqrstuvwxyz"
"""Names of matmul's batch axes; i, j, k are those of the matrices."""


@dataclass(frozen=True, slots=True, eq=False)
class Contraction:
    """einsum(equation, x, weight), x reshaped before and the result after.

    Args:
        equation: "indices of x,indices of the weight->indices of the result"; none twice in one of them.
        weight: the constant.
        live: shape x is read as.
        result: shape of the result.
        name: how the model spells it.
    """

    equation: str
    weight: Tensor
    live: Shape
    result: Shape
    name: str = "matmul"
    blocks: Tensor = field(init=False)
    absolute: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", self._blocks())
        object.__setattr__(self, "absolute", _schur(self.blocks))

    def kinds(self) -> tuple[str, str, str, str]:
        """The indices that are aligned, made, summed and kept."""
        live, constant, result = indices_of(self.equation)
        return (
            "".join(i for i in result if i in live and i in constant),
            "".join(i for i in result if i not in live),
            "".join(i for i in live if i not in result),
            "".join(i for i in result if i not in constant),
        )

    def sizes(self) -> Mapping[str, int]:
        """The extent of every index."""
        live, constant, _ = indices_of(self.equation)
        return dict(zip(live + constant, (*self.live, *self.weight.shape), strict=True))

    def _blocks(self) -> Tensor:
        """(aligned, made, summed): the matrices W_a."""
        _, constant, _ = indices_of(self.equation)
        sizes, kinds = self.sizes(), self.kinds()[:3]
        wanted = "".join(kinds)
        # A summed index that the constant lacks is summed with weight 1.
        lacking = "".join(i for i in wanted if i not in constant)
        ones = self.weight.new_ones([sizes[i] for i in lacking])
        whole = torch.einsum(f"{constant},{lacking}->{wanted}", self.weight, ones)
        return whole.reshape([math.prod(sizes[i] for i in kind) for kind in kinds]).contiguous()

    def forward(self, *xs: Tensor) -> Tensor:
        """The map itself."""
        live, _, result = indices_of(self.equation)
        aligned, made, summed, kept = self.kinds()
        sizes = self.sizes()
        x = xs[0].reshape(self.live).permute([live.index(i) for i in aligned + summed + kept])
        x = x.reshape([math.prod(sizes[i] for i in kind) for kind in (aligned, summed, kept)])
        y = stacked(self.blocks.to(x.dtype), x).reshape([sizes[i] for i in aligned + made + kept])
        return y.permute([(aligned + made + kept).index(i) for i in result]).reshape(self.result)

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """max_a ‖W_a‖."""
        del shapes
        blocks = self.blocks
        if len(blocks) > MANY or not blocks.numel():
            return Gain.of(self.absolute, "schur")
        return Gain((max((spectral(Dense(block)) for block in blocks), key=lambda bound: bound.value),))

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """γ_m max_a ‖|W_a|‖ ‖x‖."""
        del shapes, out
        return affine_error(self.blocks.shape[2], self.absolute, norms[0], None, 1)


def _schur(blocks: Tensor) -> float:
    """The largest √(‖|W_a|‖₁‖|W_a|‖_∞), of all blocks at once (`spectral.schur`)."""
    if not blocks.numel():
        return 0.0
    sizes = Dense(blocks.flatten(1)).weight.abs().reshape(blocks.shape)
    largest = float((sizes.sum(1).amax(1).sqrt() * sizes.sum(2).amax(1).sqrt()).max())
    # Two sums, their roots, and a product.
    return mul_up(largest, 1 + 4 * gamma(2 * sizes[0].numel() + 8))


def indices_of(equation: str) -> tuple[str, str, str]:
    """Of x, of the constant, of the result."""
    operands, _, result = equation.partition("->")
    live, _, constant = operands.partition(",")
    return live, constant, result


def _matmul(left: str, right: str) -> Callable[[Args], Linear | Contraction]:
    def translate(args: Args) -> Linear | Contraction:
        if args.is_live(left) and args.is_live(right):
            raise Untranslatable("a product of two tensors that both depend on the input is unbounded")
        first = args.is_live(left)
        shape = args.ref(left if first else right)
        weight = args.const(right if first else left)
        if first and weight.dim() > 1 and args.output == (*shape[:-1], weight.shape[-1]):
            whole = math.prod(weight.shape[:-2]) == 1
            if whole:
                return Linear(weight.reshape(weight.shape[-2:]).T.contiguous(), name="matmul")
        equation, read, stored = product_of(shape, tuple(weight.shape), first=first)
        return Contraction(equation, weight.reshape(stored), read, args.output)

    return translate


def product_of(shape: Shape, weight: Shape, *, first: bool) -> tuple[str, Shape, Shape]:
    """x @ W (`first`) or W @ x, broadcast as `torch.matmul` does, of tensors of such shapes.

    Returns:
        The equation, and the shapes that x and W are read as.
    """
    live = ("ik" if first else "kj") if len(shape) > 1 else "k"
    constant = ("kj" if first else "ik") if len(weight) > 1 else "k"
    core = "".join(i for i in "ij" if i in live + constant)
    sizes = dict(zip(live, shape[-len(live) :], strict=True))
    sizes |= dict(zip(constant, weight[-len(constant) :], strict=True))
    outer, stacked = shape[: -len(live)], weight[: -len(constant)]
    axes = max(len(outer), len(stacked))
    of_live = of_constant = both = ""
    for letter, n, m in zip(
        _BATCH, (1,) * (axes - len(outer)) + outer, (1,) * (axes - len(stacked)) + stacked, strict=False
    ):
        # An axis of length 1 is stretched: it is left out, and the other operand's stands alone.
        of_live += letter if n > 1 else ""
        of_constant += letter if m > 1 else ""
        both += letter if n * m > 1 else ""
        sizes[letter] = max(n, m)
    live, constant = of_live + live, of_constant + constant
    read, stored = (tuple(sizes[i] for i in indices) for indices in (live, constant))
    return f"{live},{constant}->{both}{core}", read, stored


def einsum_of(equation: str, members: Sequence[Live | Tensor]) -> tuple[str, Live, Tensor]:
    """An einsum with the live tensor first: the equation, that tensor, the constant.

    Raises:
        Untranslatable: unless every index is at most once in each operand and in the result.
    """
    left, arrow, out = equation.replace(" ", "").partition("->")
    operands = list(zip(left.split(","), members, strict=True))
    live = [(names, m) for names, m in operands if not isinstance(m, Tensor)]
    fixed = [(names, m) for names, m in operands if isinstance(m, Tensor)]
    if len(live) != 1 or len(fixed) != 1:
        raise Untranslatable("an einsum of other than one live tensor and one constant has no rule")
    (names, tensor), (pair, weight) = live[0], fixed[0]
    extents = [*zip(names, tensor.shape, strict=False), *zip(pair, weight.shape, strict=False)]
    repeated = any(len(set(indices)) < len(indices) for indices in (names, pair, out))
    stretched = any(dict(extents)[index] != extent for index, extent in extents)
    # What only the constant sums would be rounded here.
    alone = set(pair) - {*names, *out}
    if not arrow or "." in equation or repeated or stretched or alone:
        raise Untranslatable(f"einsum {equation} has no rule")
    return f"{names},{pair}->{out}", tensor, weight


def _einsum(args: Args) -> Linear | Contraction:
    args.ignore("path")
    equation, tensor, weight = einsum_of(args.attr("equation"), args.members("tensors"))
    names, pair, out = indices_of(equation)
    if len(pair) == 2 and names and names[-1] in pair:
        made = pair.replace(names[-1], "")
        if made not in names and out == names[:-1] + made:
            return Linear((weight if pair[1] == names[-1] else weight.T).contiguous(), name="einsum")
    return Contraction(equation, weight, tensor.shape, args.output, name="einsum")


def _cumsum(args: Args) -> Contraction:
    """Multiplication by a triangle of ones."""
    shape = args.ref("self")
    if args.attr("dtype") is not None:
        raise Untranslatable("a cumulative sum with a dtype of its own has no rule")
    axis = args.attr("dim") % len(shape)
    names = _BATCH[: len(shape)]
    summed = names.replace(names[axis], "j")
    ones = torch.ones(shape[axis], shape[axis], dtype=torch.float64).tril()
    return Contraction(f"{names},j{names[axis]}->{summed}", ones, shape, args.output, name="cumsum")


ROWS = (
    OpSpec(("aten.cumsum.default",), _cumsum),
    OpSpec(("aten.mm.default",), _matmul("self", "mat2")),
    OpSpec(("aten.bmm.default",), _matmul("self", "mat2")),
    OpSpec(("aten.matmul.default",), _matmul("self", "other")),
    OpSpec(("aten.einsum.default",), _einsum),
)
