"""The curve of certified accuracy as a picture by itself, for papers: black on white, text as text."""

from __future__ import annotations

from lipaudit.report.html.curve import curve_picture
from lipaudit.report.html.frame import FONT
from lipaudit.report.html.markup import svg_document, tag
from lipaudit.report.model import AuditReport

__all__ = ["to_svg"]

_SIZE = (640, 400)
_NOTHING = "No sample was evaluated: there is no certified accuracy to draw."


def to_svg(report: AuditReport) -> str:
    """A standalone SVG document; without a data set, one that says so."""
    evidence = report.evidence
    robustness = evidence.robustness
    ground = tag("rect", width="100%", height="100%", fill="#fff")
    if robustness is None or robustness.clean_accuracy.n == 0:
        words = tag("text", _NOTHING, x=20, y=40, font_family=FONT, font_size=14)
        return svg_document(
            tag("svg", tag("title", _NOTHING), ground, words, viewBox="0 0 640 80", width=640, height=80)
        )
    picture = curve_picture(evidence, robustness, _SIZE, "curve")
    picture.insert(2, ground)
    return svg_document(picture)
