"""All spectra in one picture: a panel for each layer, values against their rank, the certified bound above.

A bar for each value where only the largest are known, each a proved lower bound; a falling line where the
whole spectrum is, which is computed and not proved.  A legend says so.  Heights are rounded downwards; the
dashed line is the bound: no meaning is in a colour.
"""

from __future__ import annotations

from lipaudit.report.html.frame import FONT, words
from lipaudit.report.html.markup import Markup, svg_document, tag
from lipaudit.report.spectrum.record import LayerSpectrum, Spectrum
from lipaudit.report.spectrum.sparkline import heights
from lipaudit.report.wording import bound_text, plural, printable, shown_down

__all__ = ["to_svg"]

_COLUMNS, _WIDE, _HIGH = 3, 290.0, 184.0
_LEFT, _TOP, _INNER, _DEPTH = 60.0, 42.0, 218.0, 92.0
_NAME = 12.0  # where a panel's name begins
_HEAD, _LINE = 44.0, 18.0  # height of the title, and of a line of the legend
_SIGNS = 34  # of a name above its panel
_BARS, _POINTS = 40, 118
_MARGIN = 7  # signs beside an axis
_ROOF = 0.9  # of a panel's height is the bound
_BLUE = "#0072b2"
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
    legend = _legend(drawn)
    width = 16 + _WIDE * max(columns, 2)
    end = _HEAD + _HIGH * -(-len(drawn) // columns)
    height = end + _LINE * len(legend) + 16
    panels = [
        tag(
            "g",
            *_panel(layer),
            transform=f"translate({8 + _WIDE * (k % columns):g} {_HEAD + _HIGH * (k // columns):g})",
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
            tag("text", _cut(title, int(width / 9)), x=8 + _NAME, y=26, font_size=15, class_="name"),
            *panels,
            *(
                tag("g", *parts, transform=f"translate({8 + _NAME:g} {end + _LINE * k:g})")
                for k, parts in enumerate(legend)
            ),
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


def _legend(drawn: list[LayerSpectrum]) -> list[tuple[Markup, Markup]]:
    """A sign and what it stands for, of what is drawn."""
    signs = (
        (
            any(layer.everything is None for layer in drawn),
            tag("rect", x=8, y=2, width=8, height=12, fill=_BLUE),
            "the largest singular values, by rank: proved lower bounds",
        ),
        (
            any(layer.everything is not None for layer in drawn),
            tag("line", x1=0, x2=24, y1=8, y2=8, stroke=_BLUE, stroke_width=2),
            "the whole spectrum, by rank: computed in float64, not proved",
        ),
        (
            any(layer.bound.value is not None for layer in drawn),
            tag("line", x1=0, x2=24, y1=8, y2=8, **_DASHES),
            "certified bound: proved, no singular value is larger",
        ),
    )
    return [(sign, words(text, 32, 12, "start")) for there, sign, text in signs if there]


_DASHES = {"stroke": "#000", "stroke_dasharray": "5 3", "class_": "bound"}


def _axes(layer: LayerSpectrum, shown: int) -> list[Markup]:
    """Both axes with their ends, rank below and value to the left."""
    base, roof = _TOP + _DEPTH, _TOP + _DEPTH * (1 - _ROOF)
    # Without a bound the largest value is as high as a bound would be (`heights`).
    top = shown_down(layer.top[0].value) if not layer.bound.value else bound_text(layer.bound)
    ranks = [words("1", _LEFT + 2, base + 14, "start")]
    if shown > 1:
        ranks.append(words(str(shown), _LEFT + _INNER, base + 14, "end"))
    return [
        tag("line", x1=_LEFT, x2=_LEFT + _INNER, y1=base, y2=base, class_="axis", stroke="#000"),
        tag("line", x1=_LEFT, x2=_LEFT, y1=roof, y2=base, class_="axis", stroke="#000"),
        words("0", _LEFT - 5, base + 4, "end"),
        # What the margin cannot hold stands above the axis.
        words(top, _LEFT - 5, roof + 4, "end")
        if len(top) <= _MARGIN
        else words(top, _LEFT + 4, roof - 5, "start"),
        *ranks,
    ]


def _panel(layer: LayerSpectrum) -> list[Markup]:
    base, roof = _TOP + _DEPTH, _TOP + _DEPTH * (1 - _ROOF)
    bounded = layer.bound.value is not None
    parts = [
        words(_cut(printable(layer.name)), _NAME, 16, "start", "name"),
        words(
            f"bound {bound_text(layer.bound)} · largest ≥ {shown_down(layer.top[0].value)}",
            _NAME,
            31,
            "start",
        ),
    ]
    if bounded:
        parts.append(tag("line", x1=_LEFT, x2=_LEFT + _INNER, y1=roof, y2=roof, **_DASHES))
    whole = layer.everything is not None
    shares = heights(layer, _POINTS if whole else _BARS)
    step = _INNER / max(len(shares), 1)
    tops = [int(100 * _DEPTH * _ROOF * share) / 100 for share in shares]
    if whole:
        line = "".join(
            f"{'L' if k else 'M'}{_LEFT + step * (k + 0.5):.2f} {base - top:.2f}"
            for k, top in enumerate(tops)
        )
        parts.append(tag("path", d=line, fill="none", stroke=_BLUE, stroke_width=2))
    else:
        wide = min(step * 0.7, 24.0)
        parts += [
            tag(
                "rect",
                x=_LEFT + step * (k + 0.5) - wide / 2,
                y=base - top,
                width=wide,
                height=top,
                fill=_BLUE,
            )
            for k, top in enumerate(tops)
        ]
    groups = layer.everything if layer.everything is not None else layer.top
    shown = sum(group.count for group in groups)
    known = f"all {plural(layer.total, 'value')}" if whole else f"the largest {shown} of {layer.total}"
    return [*parts, *_axes(layer, shown), words(f"rank: {known}", _LEFT + _INNER / 2, base + 28, "middle")]


def _cut(name: str, signs: int = _SIGNS) -> str:
    """The end of a long name tells more than its beginning."""
    return name if len(name) <= signs else f"…{name[1 - signs :]}"
