"""Layers: brackets of the costliest on one axis, parts that were proved as a whole, and a table of all.

Inside of such a part a layer's own gain does not enter the network's bound by itself; it is shown as
belonging there.
"""

from __future__ import annotations

from lipaudit import rounding
from lipaudit.report.advice import costliest
from lipaudit.report.html.axis import LogAxis, log_axis
from lipaudit.report.html.bars import at_least, at_most, chart, grid, row, saved, span
from lipaudit.report.html.markup import Markup, heading, scrolling, stacking, table, tag, tagged
from lipaudit.report.model import Block, Evidence, Layer
from lipaudit.report.wording import (
    NOT_ANALYSED,
    bound_text,
    estimate_text,
    plural,
    shape_text,
    shown_down,
    slack_text,
)

__all__ = ["layer_section"]

_CHARTED = 30
"""Layers with a bar; of a longer network those that cost most."""

_COLUMNS = ("layer", "operation", "output", "#witnessed ≥", "#proved ≤", "#slack ≤", "#from input ≤")


def layer_section(evidence: Evidence) -> Markup:
    """Bars, then the tables."""
    parts: list[Markup | None] = [heading(2, "Layers", "layers"), tag("p", _LEAD, class_="lead")]
    if not evidence.layers:
        parts.append(tag("p", f"{NOT_ANALYSED} No layer is listed."))
        return tag("section", *parts, aria_labelledby="layers")
    parts.append(_chart(evidence))
    if evidence.blocks:
        parts += [heading(3, "Parts proved as a whole", "parts"), tag("p", _BLOCKS), _block_table(evidence)]
    long = len(evidence.layers) > _CHARTED
    parts.append(
        tag(
            "details",
            tag("summary", f"Table of all {plural(len(evidence.layers), 'layer')} with every number"),
            _layer_table(evidence),
            open=None if long else "",
        )
    )
    parts.append(_tried(evidence))
    return tag("section", *parts, aria_labelledby="layers")


_LEAD = (
    "How much each layer can amplify a change of its own input. The true value lies within its bracket: at "
    "least what was witnessed, at most what was proved. At 1, the strong line, a change passes as it is."
)
_BLOCKS = (
    "Some layers together amplify less than the product of their single bounds. Such a part counts once, "
    "with the bound “as a whole”."
)


def _chart(evidence: Evidence) -> Markup:
    shown = {id(layer) for layer in costliest(evidence)[:_CHARTED]}
    layers = [layer for layer in evidence.layers if id(layer) in shown]
    inside = {name: block for block in evidence.blocks for name in block.layers}
    blocks = _blocks_before(layers, evidence.blocks)
    values = [v for layer in layers for v in (layer.upper.value, layer.lower.value)]
    values += [v for block in evidence.blocks for v in (block.upper.value, block.plain.value)]
    axis = log_axis([v for v in values if v is not None])
    rows = []
    for layer in layers:
        rows += [_block_row(axis, block) for block in blocks.pop(layer.name, ())]
        rows.append(_layer_row(axis, layer, inside.get(layer.name)))
    hidden = len(evidence.layers) - len(layers)
    caption = f"{plural(len(layers), 'layer')}, in the network's order" + (
        f": those that can amplify most. {hidden} more, none with a larger bound, stand in the table below."
        if hidden
        else "."
    )
    return chart(caption, ("layer", "amplification (logarithmic)", "bracket"), axis, rows)


def _blocks_before(layers: list[Layer], blocks: tuple[Block, ...]) -> dict[str, list[Block]]:
    """Each part before the first of its layers that is shown."""
    found: dict[str, list[Block]] = {}
    for block in blocks:
        members = set(block.layers)
        first = next((layer.name for layer in layers if layer.name in members), None)
        if first is not None:
            found.setdefault(first, []).append(block)
    return found


def _layer_row(axis: LogAxis, layer: Layer, block: Block | None) -> Markup:
    within = "" if block is None else " · in the part above"
    parts = [*grid(axis), *span(axis, layer.lower.value, layer.upper.value)]
    numbers = (at_most(layer.upper), at_least(layer.lower))
    return row((layer.name, f"{layer.op}{within}"), parts, numbers, "member" if block else None)


def _block_row(axis: LogAxis, block: Block) -> Markup:
    upper, plain = block.upper.value, block.plain.value
    dotted = [] if upper is None else saved(axis, upper, plain)
    parts = [*grid(axis), *dotted, *span(axis, None, upper, "whole")]
    told = f"{plural(len(block.layers), 'layer')} as one part"
    numbers = (at_most(block.upper), f"by layers {at_most(block.plain)}")
    return row((f"{block.source} → {block.end}", told), parts, numbers, "part")


def _block_table(evidence: Evidence) -> Markup:
    """What structure bought, part by part."""
    rows = [
        (
            f"{block.source} → {block.end}",
            str(len(block.layers)),
            block.rule,
            bound_text(block.plain),
            bound_text(block.upper),
            _bought(block),
        )
        for block in evidence.blocks
    ]
    columns = ("part", "#layers", "rule", "#by its layers ≤", "#as a whole ≤", "#smaller by")
    caption = f"{plural(len(rows), 'part')} proved as a whole"
    return stacking(caption, columns, rows)


def _bought(block: Block) -> str:
    plain, upper = block.plain.value, block.upper.value
    if plain is None or upper is None or upper == 0:
        return NOT_ANALYSED
    return f"{shown_down(rounding.div_down(plain, upper), 4)} ×"


def _layer_table(evidence: Evidence) -> Markup:
    """Every layer with every number."""
    varied = any(layer.variance is not None for layer in evidence.layers)
    columns = (*_COLUMNS, *(["#variance"] if varied else []), "method and remarks")
    rows = [_numbers(layer, varied=varied) for layer in evidence.layers]
    caption = "All layers in the network's order; “from input” bounds everything up to the layer"
    return scrolling(table(caption, columns, rows, "all-layers"), "All layers")


def _numbers(layer: Layer, *, varied: bool) -> list[str]:
    remark = "; ".join(text for text in (layer.method, layer.note, layer.origin) if text)
    spread = NOT_ANALYSED if layer.variance is None else shown_down(layer.variance)
    return [
        layer.name,
        layer.op,
        shape_text(layer.shape[1:]) if layer.shape else NOT_ANALYSED,
        estimate_text(layer.lower),
        bound_text(layer.upper),
        slack_text(layer.slack),
        bound_text(layer.running),
        *([spread] if varied else []),
        remark,
    ]


def _tried(evidence: Evidence) -> Markup | None:
    """What each method said about the costliest layers with a linear map."""
    asked = [layer for layer in costliest(evidence) if layer.tried][:_CHARTED]
    if not asked:
        return None
    items = []
    for layer in asked:
        said = [f"{tried.method} ≤ {bound_text(tried.upper)}" for tried in layer.tried if tried.maps]
        silent: dict[str, list[str]] = {}
        for tried in layer.tried:
            if not tried.maps:
                silent.setdefault(tried.note or "not asked", []).append(tried.method)
        items.append(tag("dt", layer.name))
        items += tagged("dd", [", ".join(said)] if said else [])
        items += [tag("dd", f"{', '.join(names)}: {why}", class_="note") for why, names in silent.items()]
    summary = f"What each method proved ({plural(len(asked), 'layer')} with linear maps, costliest first)"
    return tag("details", tag("summary", summary), tag("dl", *items, class_="methods"))
