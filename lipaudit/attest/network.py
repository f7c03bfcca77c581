"""Layers, parts and the whole network: their bounds are composed again from norms that were proved again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from lipaudit.analyze import Layer, joint
from lipaudit.attest.ledger import NOTHING, Ledger
from lipaudit.attest.norms import Certified
from lipaudit.blocks import Claim, confirmed
from lipaudit.blocks.claim import Stored
from lipaudit.bound import Bound, Estimate
from lipaudit.compose import NetworkBound, compose
from lipaudit.graph.graph import LayerGraph
from lipaudit.graph.node import Node
from lipaudit.report.model import Block, Evidence, NetworkBracket
from lipaudit.report.model import Layer as Record
from lipaudit.report.wording import plural

__all__ = ["check_network"]

CLOSE = 1e-9
"""Relative difference of stored numbers that may be another machine's rounding."""


def check_network(
    graph: LayerGraph, evidence: Evidence, ledger: Ledger, memory: int, advance: Callable[[], None]
) -> tuple[tuple[Layer, ...], NetworkBound] | None:
    """Every layer's gain, every block and what follows for the network, compared with the report.

    Args:
        graph: the network from the threat space to its scores, derived from the model.
        evidence: what is claimed.
        ledger: is told of everything.
        memory: bytes that a method's tensors may take at a time.
        advance: called after each layer and block.

    Returns:
        The layers and the bound as proved now, for whatever rests on them; None if the report speaks of
        other layers, or a norm was not proved again.
    """
    names = [node.name for node in graph]
    if not ledger.equal("layers (names)", [row.name for row in evidence.layers], names):
        return None
    layers, norms, before = [], 0, len(ledger.differences)
    for index, (node, record) in enumerate(zip(graph, evidence.layers, strict=True)):
        layer, count = _layer(graph, node, record, f"layers[{index}] ({node.name})", ledger, memory)
        layers.append(layer)
        norms += count
        advance()
    claims = []
    if len(evidence.blocks) > len(evidence.layers):
        ledger.differs("blocks", f"{len(evidence.blocks)} blocks", f"{len(names)} layers")
        return None
    for index, block in enumerate(evidence.blocks):
        where = f"blocks[{index}] ({block.source} → {block.end})"
        claim, count = _block(graph, layers, block, where, ledger, memory)
        claims += [] if claim is None else [claim]
        norms += count
        advance()
    if any(not layer.upper.is_finite for layer in layers) and len(ledger.differences) > before:
        ledger.unchecked.append(
            "whatever rests on norms that were not proved again: bounds, radii, the verdict"
        )
        return None
    bound = compose(graph, layers, claims)
    for index, record in enumerate(evidence.layers):
        running = Bound.computed(bound.running[record.name], "composition")
        ledger.at_least(f"layers[{index}] ({record.name}).running", record.running, running)
    _bracket("global", evidence.global_, bound.total, ledger)
    ledger.equal("global.method", evidence.global_.method, bound.total.method)
    if bound.total.is_finite:
        ledger.equal("global.note", evidence.global_.note, bound.total.note)
    ledger.holds(
        before,
        f"{plural(len(layers), 'layer')}, {plural(len(claims), 'block')} and the network's bound, from "
        f"{plural(norms, 'norm')} that the checker granted again",
    )
    return tuple(layers), bound


def _layer(
    graph: LayerGraph, node: Node, record: Record, where: str, ledger: Ledger, memory: int
) -> tuple[Layer, int]:
    """One op's gain from its certificates, and how many of these were confirmed."""
    spectral = Certified(record.certificates, where, ledger, memory)
    gain = node.op.gain(tuple(graph.shape_of(name) for name in node.inputs), spectral)
    spectral.finish()
    if any(row.weights_sha256 is None for row in record.certificates):
        ledger.differs(f"{where}.certificates", "no weights_sha256", "the digest of the layer's weights")
    upper = joint(gain)
    ledger.equal(f"{where}.op", record.op, node.op.name)
    ledger.equal(f"{where}.shape", record.shape, node.shape)
    if upper.is_finite:
        ledger.equal(f"{where}.method", record.method, upper.method)
        ledger.equal(f"{where}.note", record.note, upper.note)
    _check_tried(record, where, ledger)
    _bracket(where, record, upper, ledger)
    return Layer(node, gain, upper, _lower(record)), spectral.confirmed


def _check_tried(record: Record, where: str, ledger: Ledger) -> None:
    """What other methods are said to have proved is true if it is not below what was proved."""
    found = [math.inf if row.tau.value is None else row.tau.value for row in record.certificates]
    for row in record.tried:
        if row.upper.value is None:
            continue
        # Of several maps a method may have bounded some: which of them is not told.
        pick = max if row.maps == len(found) else min
        least = pick(found, default=math.inf)
        ledger.at_least(f"{where}.tried ({row.method})", row.upper, _bound(least))


def _lower(record: Record) -> Estimate | None:
    value = record.lower.value
    return None if value is None else Estimate(value, record.method)


def _bracket(where: str, claimed: Record | NetworkBracket, proved: Bound, ledger: Ledger) -> None:
    """The upper end; and the lower one, which is not proved again, must fit to it."""
    ledger.at_least(f"{where}.upper", claimed.upper, proved)
    lower = claimed.lower.value
    if claimed.lower.status not in ("witnessed", "not_analysed"):
        ledger.differs(f"{where}.lower", claimed.lower.status, "a witnessed value, or none")
    if lower is None:
        ledger.equal(f"{where}.slack", claimed.slack, None)
        return
    if lower > proved.value:
        ledger.differs(f"{where}.lower", lower, f"at most {proved.value!r} is possible")
    if isinstance(claimed.slack, float) and lower > 0 and proved.is_finite:
        # The slack is of unrounded ends: each of them may be off by a unit of the ninth digit.
        if claimed.slack < proved.value / lower * (1 - 4e-8):
            ledger.differs(f"{where}.slack", claimed.slack, proved.value / lower)
    elif isinstance(claimed.slack, float) and claimed.slack < 1:
        ledger.differs(f"{where}.slack", claimed.slack, "at least 1")


def _block(
    graph: LayerGraph, layers: Sequence[Layer], block: Block, where: str, ledger: Ledger, memory: int
) -> tuple[Claim | None, int]:
    """What the block's rule proves again, and how many of its norms were confirmed."""
    spectral = Certified(block.certificates, where, ledger, memory)
    stored: Mapping[str, Stored] = block.proof
    claim = confirmed(graph, layers, (block.source, block.end), block.rule, stored, spectral)
    if claim is None:
        shown = block.upper.value if block.upper.value is not None else block.upper.status
        ledger.differs(f"{where}.upper", shown, f"{NOTHING} by the rule {block.rule!r}")
        return None, spectral.confirmed
    spectral.finish()
    ledger.equal(f"{where}.layers", block.layers, claim.names)
    ledger.at_least(f"{where}.upper", block.upper, _bound(claim.bound.value))
    ledger.at_least(f"{where}.plain", block.plain, _bound(claim.plain))
    ledger.equal(f"{where}.proof (names)", sorted(block.proof), sorted(claim.stored))
    for name, value in claim.stored.items():
        if name in block.proof and not _same(block.proof[name], value):
            ledger.differs(f"{where}.proof.{name}", block.proof[name], value)
    return claim, spectral.confirmed


def _bound(value: float) -> Bound:
    return Bound.computed(value, "rule")


def _same(claimed: object, proved: object) -> bool:
    """Equal but for roundings; numbers may stand as hexadecimal text."""
    if isinstance(claimed, tuple | list) and isinstance(proved, tuple | list):
        return len(claimed) == len(proved) and all(map(_same, claimed, proved))
    if claimed == proved:
        return True
    numbers = _number(claimed), _number(proved)
    return all(n is not None and math.isfinite(n) for n in numbers) and math.isclose(
        numbers[0] or 0.0, numbers[1] or 0.0, rel_tol=CLOSE, abs_tol=0.0
    )


def _number(value: object) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    try:
        return float.fromhex(value) if isinstance(value, str) and value.startswith(("0x", "-0x")) else None
    except (ValueError, OverflowError):
        return None
