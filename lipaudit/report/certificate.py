"""Records of proved norms: what it takes to prove each of them again without a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from lipaudit.report.inputs import Digest, Text
from lipaudit.report.number import Count, Number, Record

if TYPE_CHECKING:
    from lipaudit.spectral.certificate import Certificate as Proved

__all__ = ["Certificate", "certificate_records"]


class Certificate(Record):
    """The norm of one linear map: ‖T‖ ≤ tau by this method, for these weights and this geometry."""

    method: Text
    tau: Number = Field(description="unrounded: every bit counts")
    kind: Text = Field(description="`dense` or `conv`")
    weight: tuple[int, ...] = Field(description="shape of the weights")
    image: tuple[int, ...] = Field(default=(), description="cells per axis of what goes in")
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = Field(default=(), description="left and right, per axis")
    dilation: tuple[int, ...] = ()
    groups: Count = 1
    padding_mode: Text = ""
    transposed: bool = False
    weights_sha256: Digest | None = Field(
        default=None,
        description="over shape and float64 entries; null for maps that a rule computed from stored weights, "
        "whose last bits depend on the machine",
    )


def certificate_records(proved: Sequence[Proved], *, stored: bool) -> tuple[Certificate, ...]:
    """In the order in which the norms were asked for.

    Args:
        proved: by a layer, or by a rule.
        stored: whether the maps hold a layer's weights as they are.
    """
    return tuple(
        Certificate(
            method=row.method,
            tau=Number.exactly(row.tau),
            kind=row.shape.kind,
            weight=row.shape.weight,
            image=row.shape.image,
            stride=row.shape.stride,
            padding=row.shape.padding,
            dilation=row.shape.dilation,
            groups=row.shape.groups,
            padding_mode=row.shape.padding_mode,
            transposed=row.shape.transposed,
            weights_sha256=row.weights_sha256 if stored else None,
        )
        for row in proved
    )
