"""Local response normalisation, as exporters write it: x / (k + α·mean of x² over nearby channels)^β.

With D = k + s, s = α w Σ_{j∈N(i)} x_j² ≥ α w x_i² the Jacobian is

    diag(D^−β) − A,   A_ij = 2αβ w x_i x_j D_i^(−β−1) for j ∈ N(i), else 0.

Row i of A has norm 2αβ w |x_i| √(Σ x_j²) D^(−β−1) ≤ 2β s (k + s)^(−β−1), largest at s = k/β, where it
is 2 k^−β (β/(β + 1))^(β+1).  Every channel lies in at most n windows, so ‖A‖² ≤ n · (largest row)² and

    Lip ≤ k^−β (1 + 2√n (β/(β + 1))^(β+1))        for k, α, β > 0.

The operation: Krizhevsky, Sutskever, Hinton (2012), "ImageNet classification with deep convolutional neural
networks", NeurIPS, sec. 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import BoundMap, Gain, Node, Shape, Unsupported
from lipaudit.ops.arithmetic import Affine
from lipaudit.ops.pool import AveragePool
from lipaudit.ops.shape import Relayout
from lipaudit.passes.edit import edited, subfunction
from lipaudit.rounding import UNDERFLOW, gamma, mul_up, sqrt_up

__all__ = ["LocalResponse", "local_response"]

RELATIVE = 1e-12
"""Of pow in float64, of which a few are multiplied; far more than they err."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalResponse:
    """The whole of it, run as it was written.

    Args:
        function: of one tensor.
        k, beta: as above.
        windows: n.
        terms: entries of the largest window.
    """

    function: Callable[[Tensor], Tensor]
    k: float
    beta: float
    windows: int
    terms: int
    name: str = "local_response_norm"

    def forward(self, *xs: Tensor) -> Tensor:
        """The function itself."""
        return self.function(xs[0])

    def gain(self, shapes: tuple[Shape, ...], spectral: BoundMap) -> Gain:
        """k^−β (1 + 2√n (β/(β + 1))^(β+1))."""
        del shapes, spectral
        return Gain.of(self.slope, "jacobian")

    @property
    def slope(self) -> float:
        """The bound as a number."""
        row = 2.0 * (self.beta / (self.beta + 1.0)) ** (self.beta + 1.0) * (1 + RELATIVE)
        whole = 1.0 + mul_up(sqrt_up(float(self.windows)), row)
        try:
            return mul_up(self.k ** (-self.beta), whole, 1 + RELATIVE)
        except OverflowError:
            return math.inf

    def error(self, shapes: tuple[Shape, ...], norms: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """D errs by γ_m relative, D^β by β times that; a quotient by one rounding more."""
        del shapes, norms
        return gamma(math.ceil(1 + self.beta) * (self.terms + 32)) * 2 * out + UNDERFLOW


def local_response(graph: LayerGraph) -> LayerGraph:
    """The same function with every such normalisation as one op."""
    for name in [node.name for node in graph if isinstance(node.op, Unsupported)]:
        node = graph.node(name)
        found = None if node is None else _recognised(graph, node)
        if found is not None:
            graph = edited(graph, {name: found})
    return graph


def _recognised(graph: LayerGraph, node: Node) -> Node | None:
    """x / pow(α·pool(x·x) + k, β) as one node; None if it is anything else."""
    if not _is(node, "aten.div.Tensor") or len(node.inputs) != 2:
        return None
    source, below = node.inputs
    power = graph.node(below)
    if power is None or not isinstance(power.op, Unsupported) or not _is(power, "aten.pow.Tensor_Scalar"):
        return None
    steps, squares = _chain(graph, power.inputs[0])
    square = graph.node(squares)
    if square is None or not _is(square, "aten.mul.Tensor") or square.inputs != (source, source):
        return None
    numbers = _numbers(steps)
    windows = None if numbers is None else _windows(steps, square.shape)
    if numbers is None or windows is None or node.shape != graph.shape_of(source):
        return None
    (alpha, k), beta = numbers, power.op.constants[0]
    if not (0 < alpha < math.inf and 0 < k < math.inf and 0 < beta < math.inf):
        return None
    op = LocalResponse(subfunction(graph, source, node), k, beta, *windows)
    return replace(node, op=op, inputs=(source,)) if math.isfinite(op.slope) else None


def _is(node: Node, target: str) -> bool:
    return isinstance(node.op, Unsupported) and node.op.target == target


def _chain(graph: LayerGraph, name: str) -> tuple[list[Node], str]:
    """Linear steps above a value, first one first, and the value they start from."""
    steps: list[Node] = []
    node = graph.node(name)
    while node is not None and isinstance(node.op, Affine | AveragePool | Relayout):
        steps.insert(0, node)
        name = node.inputs[0]
        node = graph.node(name)
    return steps, name


def _numbers(steps: list[Node]) -> tuple[float, float] | None:
    """α and k of single numbers behind the pooling: a factor first, then a shift."""
    alpha, k = 1.0, 0.0
    pooled = False
    for node in steps:
        op = node.op
        if isinstance(op, AveragePool):
            if pooled or op.factor != 1.0:
                return None
            pooled = True
        elif isinstance(op, Affine):
            exact = not op.ulps and op.scale.numel() == op.shift.numel() == 1
            if not pooled or not exact or k != 0.0:
                return None
            alpha, k = alpha * float(op.scale), float(op.shift)
    return (alpha, k) if pooled else None


def _windows(steps: list[Node], shape: Shape) -> tuple[int, int] | None:
    """In how many windows a channel lies at most, and the largest window.

    None if they are no windows of channels that hold their own channel, and each channel once.
    """
    at = next(i for i, node in enumerate(steps) if isinstance(node.op, AveragePool))
    pool = steps[at].op
    before = _moved(steps[:at], shape)
    after = _moved([node for node in steps[at + 1 :] if isinstance(node.op, Relayout)], steps[at].shape)
    if not isinstance(pool, AveragePool) or not torch.equal(
        after.flatten(), _numbered(steps[at].shape).flatten()
    ):
        return None
    axes = len(pool.windows)
    plain = all(axis == tuple(((i,), 1) for i in range(len(axis))) for axis in pool.windows[1:])
    if not plain or len(shape) < 2 or math.prod(before.shape[:-axes]) != 1:
        return None
    cells = before.reshape(before.shape[-axes], -1)
    channels = _channels(cells, math.prod(shape[2:]))
    if channels is None or len(pool.windows[0]) != shape[1]:
        return None
    count, largest = [0] * shape[1], 0
    for own, (window, divisor) in enumerate(pool.windows[0]):
        read = [channels[p] for p in window if channels[p] is not None]
        if own not in read or len(set(read)) < len(read) or divisor <= 0:
            return None
        largest = max(largest, len(window))
        for channel in read:
            count[channel or 0] += 1
    return max(count), largest


def _numbered(shape: Shape) -> Tensor:
    return torch.arange(1, math.prod(shape) + 1, dtype=torch.float64).reshape(shape)


def _moved(steps: list[Node], shape: Shape) -> Tensor:
    """Where each cell comes from: its number, 0 where nothing does."""
    cells = _numbered(shape)
    for node in steps:
        cells = node.op.forward(cells)
    return cells


def _channels(cells: Tensor, positions: int) -> list[int | None] | None:
    """The channel behind each row; None for zeros.  Rows must be whole channels in place."""
    if cells.shape[1] != positions:
        return None
    found: list[int | None] = []
    ramp = torch.arange(1, positions + 1, dtype=torch.float64, device=cells.device)
    for row in cells:
        first = int(row[0])
        channel = (first - 1) // positions
        if not bool(row.any()):
            found.append(None)
        elif torch.equal(row, channel * positions + ramp):
            found.append(channel)
        else:
            return None
    return found
