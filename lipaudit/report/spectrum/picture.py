"""All spectra in one picture: a panel for each layer, values against their rank, the certified bound above.

A bar for each value where only the largest are known; a falling line where the whole spectrum is.  Heights
are rounded downwards, and the dashed line is the bound: no meaning is in a colour.
"""

from __future__ import annotations

from lipaudit.report.html.frame import FONT, words
from lipaudit.report.html.markup import Markup, svg_document, tag
from lipaudit.report.spectrum.record import LayerSpectrum, Spectrum
from lipaudit.report.spectrum.sparkline import heights
from lipaudit.report.wording import bound_text, plural, printable, shown_down

__all__ = ["to_svg"]

_COLUMNS, _WIDE, _HIGH = 3, 260.0, 168.0
_LEFT, _TOP, _INNER, _DEPTH = 12.0, 42.0, 236.0, 92.0
_SIGNS = 34  # of a name above its panel
_BARS, _POINTS = 40, 118
_ROOF = 0.9  # of a panel's height is the bound
_NOTHING = "The model has no linear layer with singular values to draw."


def to_svg(spectrum: Spectrum) -> str:
    """A standalone SVG document; one that says so where there is nothing to draw."""
    drawn = [layer for layer in spectrum.layers if layer.top]
    if not drawn:
        note = tag("text", _NOTHING, x=20, y=40, font_family=FONT, font_size=14)
        ground = tag("rect", width="100%", height="100%", fill="#fff")
        return svg_document(
            tag("svg", tag("title", _NOTHING), ground, note, viewBox="0 0 640 80", width=640, height=80)
        )
    columns = min(_COLUMNS, len(drawn))
    width, height = 16 + _WIDE * columns, 16 + _HIGH * -(-len(drawn) // columns)
    panels = [
        tag(
            "g",
            *_panel(layer),
            transform=f"translate({8 + _WIDE * (k % columns):g} {8 + _HIGH * (k // columns):g})",
        )
        for k, layer in enumerate(drawn)
    ]
    title = f"Singular values of {printable(spectrum.model.name)}"
    return svg_document(
        tag(
            "svg",
            tag("title", title, id="spectra-title"),
            tag("desc", _told(drawn), id="spectra-desc"),
            tag("rect", width="100%", height="100%", fill="#fff"),
            *panels,
            viewBox=f"0 0 {width:g} {height:g}",
            width=width,
            height=height,
            role="img",
            aria_labelledby="spectra-title spectra-desc",
            font_family=FONT,
            font_size=11,
        )
    )


def _told(drawn: list[LayerSpectrum]) -> str:
    """What the picture shows, in words."""
    sentences = [
        f"{printable(layer.name)}: largest value at least {shown_down(layer.top[0].value)}, certified bound "
        f"{bound_text(layer.bound)}."
        for layer in drawn
    ]
    return " ".join(sentences)


def _panel(layer: LayerSpectrum) -> list[Markup]:
    base, roof = _TOP + _DEPTH, _TOP + _DEPTH * (1 - _ROOF)
    bounded = layer.bound.value is not None
    parts = [
        words(_cut(printable(layer.name)), _LEFT, 16, "start", "name"),
        words(
            f"bound {bound_text(layer.bound)} · largest ≥ {shown_down(layer.top[0].value)}",
            _LEFT,
            31,
            "start",
        ),
        tag("line", x1=_LEFT, x2=_LEFT + _INNER, y1=base, y2=base, class_="axis", stroke="#000"),
    ]
    if bounded:
        dashes = {"stroke": "#000", "stroke_dasharray": "5 3", "class_": "bound"}
        parts.append(tag("line", x1=_LEFT, x2=_LEFT + _INNER, y1=roof, y2=roof, **dashes))
    whole = layer.everything is not None
    shares = heights(layer, _POINTS if whole else _BARS)
    step = _INNER / max(len(shares), 1)
    tops = [int(100 * _DEPTH * _ROOF * share) / 100 for share in shares]
    if whole:
        line = "".join(
            f"{'L' if k else 'M'}{_LEFT + step * (k + 0.5):.2f} {base - top:.2f}"
            for k, top in enumerate(tops)
        )
        parts.append(tag("path", d=line, fill="none", stroke="#0072b2", stroke_width=2))
    else:
        wide = min(step * 0.7, 24.0)
        parts += [
            tag(
                "rect",
                x=_LEFT + step * (k + 0.5) - wide / 2,
                y=base - top,
                width=wide,
                height=top,
                fill="#0072b2",
            )
            for k, top in enumerate(tops)
        ]
    groups = layer.everything if layer.everything is not None else layer.top
    shown = sum(group.count for group in groups)
    known = f"all {plural(layer.total, 'value')}" if whole else f"the largest {shown} of {layer.total}"
    return [*parts, words(known, _LEFT, base + 15, "start")]


def _cut(name: str) -> str:
    """The end of a long name tells more than its beginning."""
    return name if len(name) <= _SIGNS else f"…{name[1 - _SIGNS :]}"
