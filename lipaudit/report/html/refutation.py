"""How hard the program tried to refute its own claims, and how a batch of samples spreads."""

from __future__ import annotations

from lipaudit.report.html.markup import Markup, heading, tag, tagged
from lipaudit.report.model import BatchVariance, Evidence, Falsification
from lipaudit.report.wording import NOT_ANALYSED, plural, shown_down

__all__ = ["refutation_section"]


def refutation_section(evidence: Evidence) -> Markup:
    """What an attack found; that there was none, where there was none."""
    lines = [*_attack(evidence.falsification), *_spread(evidence.batch_variance)]
    lead = "Before it writes a report, lipaudit searches for counterexamples to what it is about to claim."
    return tag(
        "section",
        heading(2, "Attempts to refute this", "refutation"),
        tag("p", lead, class_="lead"),
        tag("ul", *tagged("li", lines)),
        aria_labelledby="refutation",
    )


def _attack(tried: Falsification | None) -> list[str]:
    if tried is None:
        return [f"{NOT_ANALYSED} No attack was run on these claims: nobody tried to refute them."]
    lines = []
    if tried.attacked_samples:
        found = "no counterexample" if tried.hits == 0 else plural(tried.hits, "COUNTEREXAMPLE")
        samples, steps = plural(tried.attacked_samples, "sample"), plural(tried.steps, "step")
        lines.append(f"Inside the certified radii of {samples}: {found} in {steps} each.")
    else:
        lines.append("No certified radius was attacked: there was none.")
    if tried.lipschitz_ratio is not None:
        ratio = shown_down(tried.lipschitz_ratio)
        lines.append(
            f"Largest output-to-input ratio that was found: {ratio}. The bound must not be below it."
        )
    return lines


def _spread(found: BatchVariance | None) -> list[str]:
    if found is None:
        return [f"{NOT_ANALYSED} The spread of a batch of samples from layer to layer was not measured."]
    batch = plural(found.samples, "sample")
    if found.growth is None:
        return [f"A batch of {batch} is spread wider behind no layer than before it."]
    least = shown_down(found.constant) if isinstance(found.constant, float) else NOT_ANALYSED
    where = f"A batch of {batch} is spread wider most at {found.growth}"
    return [f"{where}: this step alone amplifies by at least {least}."]
