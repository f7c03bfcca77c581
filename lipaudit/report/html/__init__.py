"""The report as one HTML file: no script, no network, nothing beside it.

`page` puts the parts together, one file per part; `markup` is the only place that escapes, `style.css` the
only one that knows colours.  What a number means is decided elsewhere (`wording`, `advice`).
"""

from __future__ import annotations

from lipaudit.report.html.page import to_html
from lipaudit.report.html.plot import to_svg

__all__ = ["to_html", "to_svg"]
