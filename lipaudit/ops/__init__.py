"""Every operation the audit understands, by its ATen name.

`OPS` maps an ATen target to the row that translates it.  A missing key is an `Unsupported` node with a
reason, never a gain of 1.  A new op is one file and one row here.
"""

from __future__ import annotations

from lipaudit.ops import (
    activation,
    arithmetic,
    concat,
    contraction,
    conv,
    fourier,
    linear,
    normalization,
    pool,
    reduction,
    resize,
    shape,
    softmax,
    sorting,
)
from lipaudit.ops.pairs import PAIRS
from lipaudit.ops.spec import Args, Live, OpSpec, Untranslatable, checked_table

__all__ = ["OPS", "PAIRS", "Args", "Live", "OpSpec", "Untranslatable"]

OPS: dict[str, OpSpec] = checked_table(
    [
        linear.ROWS,
        contraction.ROWS,
        conv.ROWS,
        fourier.ROWS,
        pool.ROWS,
        normalization.ROWS,
        activation.ROWS,
        arithmetic.ROWS,
        reduction.ROWS,
        resize.ROWS,
        concat.ROWS,
        shape.ROWS,
        softmax.ROWS,
        sorting.ROWS,
    ]
)
