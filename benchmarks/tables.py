"""A run's JSON → Markdown tables and plots."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from baselines import GRID_MAXIMUM

__all__ = ["markdown", "plot"]

Row = dict[str, Any]
Key = tuple[str, str, str]
PAIR = ("balanced", GRID_MAXIMUM)
EXACT = 1e-9
"""Excess over the truth that a plot's logarithmic axis still shows."""


def markdown(document: dict[str, Any]) -> str:
    """Every table of the run."""
    rows = document["rows"]
    lines = [*_environments(document["environments"]), *_resnet(rows), *_special(rows), *_summaries(rows)]
    return "\n".join(lines) + "\n"


def _environments(facts: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Every machine once, with what was measured there."""
    parts: dict[str, list[str]] = {}
    for part, here in facts.items():
        machine = f"{here['cpu']}, {here['threads']} thread, {here['platform']}"
        software = f"Python {here['python']}, torch {here['torch']} ({here['blas']})"
        effort = f"median of at most {here['repeats']} runs"
        told = f"{machine}, {software}, {here['date']}; {effort}"
        parts.setdefault(told, []).append(f"{part} ({here['minutes']} min)")
    for told, measured in parts.items():
        yield f"{told}: {'; '.join(measured)}."
        yield ""


def plot(document: dict[str, Any], folder: Path, name: str) -> Iterator[Path]:
    """Excess over the largest witness against time: one SVG per network, if matplotlib is installed."""
    if find_spec("matplotlib") is None:
        print("no plots: matplotlib is not installed (pip install '.[bench]')")
        return
    import matplotlib as mpl  # noqa: PLC0415 - optional

    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text: a third of the size
    from matplotlib import pyplot as plt  # noqa: PLC0415 - optional

    rows, truths = document["rows"], _truths(document["rows"])
    for section in dict.fromkeys(r["section"] for r in rows):
        shown = [r for r in rows if r["section"] == section and r["kind"] != "truth" and r["value"]]
        points = [(r, r["value"] / truths[_key(r)] - 1) for r in shown if truths.get(_key(r))]
        if not points:
            continue
        figure, axes = plt.subplots(figsize=(9, 6))
        for number, runner in enumerate(dict.fromkeys(r["runner"] for r, _ in points)):
            mine = [(r["seconds"], max(excess, EXACT)) for r, excess in points if r["runner"] == runner]
            axes.scatter(*zip(*mine, strict=True), s=18, marker="osv^DPX*"[number % 8], label=runner)
        axes.set(
            xscale="log", yscale="log", xlabel="seconds, one thread", ylabel="bound / largest witness − 1"
        )
        axes.set_title(f"{section}: left and low is better")
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        path = folder / f"{name}-{''.join(c if c.isalnum() else '-' for c in section)}.svg"
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
        yield path


def _key(row: Row) -> Key:
    return row["section"], row["layer"], row["kernel"]


RATIOS = (("bound", "witness"), ("bound", "grid"), ("grid", "witness"))


def _any_measured(rows: Sequence[Row]) -> bool:
    return any(r["value"] is not None for r in rows)


def _truths(rows: Sequence[Row]) -> dict[Key, float]:
    return {_key(r): r["value"] for r in rows if r["kind"] == "truth" and r["value"] is not None}


def _resnet(rows: Sequence[Row]) -> Iterator[str]:
    """ResNet-18 with `balanced`, layer by layer, against the singular values of the whole grid."""
    for kernel in dict.fromkeys(r["kernel"] for r in rows if r["section"] == "ResNet-18"):
        mine = [r for r in rows if (r["section"], r["kernel"]) == ("ResNet-18", kernel)]
        if not _any_measured(mine):
            continue
        yield f"### ResNet-18, {kernel} kernels: `balanced` against all singular values of the grid"
        yield ""
        yield "Times in seconds; embedding: the bound alone; balanced: with a search for a witness;"
        yield "svdvals: FFT and all singular values in float64, on half of the same grid."
        yield ""
        heads = ("layer", "×", "embedding", "balanced", "svdvals", *map(" / ".join, RATIOS), "MB")
        yield f"| {' | '.join(heads)} |"
        yield "|---" * len(heads) + "|"
        found = {
            layer: {r["runner"] if r["kind"] != "truth" else "truth": r for r in mine if r["layer"] == layer}
            for layer in dict.fromkeys(r["layer"] for r in mine)
        }
        for layer, by in found.items():
            ours, grid, true = by["balanced"], by[GRID_MAXIMUM], by["truth"]
            ratios = [_quotient(a, b) for a, b in ((ours, true), (ours, grid), (grid, true))]
            times = [_seconds(r["seconds"]) for r in (by["embedding"], ours, grid)]
            cells = [str(ours["count"]), *times]
            cells += [*map(_ratio, ratios), _megabytes(ours["memory"])]
            yield f"| {layer} | {' | '.join(cells)} |"
        yield ""
        yield _resnet_totals(list(found.values()))
        yield ""


def _resnet_totals(layers: Sequence[dict[str, Row]]) -> str:
    ours = [by["balanced"] for by in layers]
    both = [by for by in layers if by["balanced"]["seconds"] and by[GRID_MAXIMUM]["seconds"]]
    total, theirs = (sum(by[name]["seconds"] * by[name]["count"] for by in both) for name in PAIR)
    compared = sum(by["balanced"]["count"] for by in both)
    worst = {
        pair: max(
            (q for by in layers if (q := _quotient(by[pair[0]], by[pair[1]])) is not None), default=None
        )
        for pair in (("balanced", "truth"), PAIR, (GRID_MAXIMUM, "truth"))
    }
    memory = max((r["memory"] for r in ours if r["memory"] is not None), default=None)
    known = f"{compared} of {sum(r['count'] for r in ours)} convolutions have both times"
    alone = sum((by["embedding"]["seconds"] or 0.0) * by["embedding"]["count"] for by in both)
    times = f"embedding takes {alone:.1f} s, balanced {total:.1f} s, FFT + svdvals {theirs:.1f} s"
    grid = f"maximum of the grid {_ratio(worst[PAIR])}"
    ratios = f"bound / witness {_ratio(worst['balanced', 'truth'])}, bound / {grid}"
    above = f"maximum of the grid / witness {_ratio(worst[GRID_MAXIMUM, 'truth'])}"
    peak = f"peak memory of balanced {_megabytes(memory)} MB"
    return f"{known}: {times}. Largest {ratios}, {above}; {peak}."


def _special(rows: Sequence[Row]) -> Iterator[str]:
    """Sections of single claims, row by row."""
    truths = _truths(rows)
    titles = {
        "five steps": "64→64 3×3, n = 32, against five steps of Gram iteration on the kernel",
        "growth": "Growth with the image, 64→64 3×3, Gaussian",
        "flat spectrum": "Nearly orthogonal kernels",
        "dense": "A large dense layer",
        "finite": "`tight` against the finite map: the layer of ResNet-18 with image side × channels ≤ 1024",
    }
    for section, title in titles.items():
        mine = [r for r in rows if r["section"] == section and r["kind"] != "truth"]
        if mine:
            yield f"### {title}"
            yield ""
            yield "| layer | kernel | | bound / witness | s | MB | |"
            yield "|---|---|---|---|---|---|---|"
            for r in mine:
                ratio = None if r["value"] is None or _key(r) not in truths else r["value"] / truths[_key(r)]
                cells = [r["layer"], r["kernel"], r["runner"], _ratio(ratio), _seconds(r["seconds"])]
                yield f"| {' | '.join([*cells, _megabytes(r['memory']), r['note'].split(': Conv')[0]])} |"
            yield ""


def _summaries(rows: Sequence[Row]) -> Iterator[str]:
    """Per network and kernel, one line per runner."""
    truths = _truths(rows)
    for section in ("ResNet-18", "ResNet-50", "VGG-16", "32×32"):
        for kernel in dict.fromkeys(r["kernel"] for r in rows if r["section"] == section):
            mine = [r for r in rows if (r["section"], r["kernel"]) == (section, kernel)]
            if not _any_measured(mine):
                yield f"{section}, {kernel} kernels: not measured, the time of this part was used up."
                yield ""
                continue
            shown = [r for r in mine if r["kind"] != "truth"]
            yield f"### {section}, {kernel} kernels"
            yield ""
            yield "| | layers | total s | median bound / witness | worst | MB | not measured |"
            yield "|---|---|---|---|---|---|---|"
            for runner in dict.fromkeys(r["runner"] for r in shown):
                yield _summary(runner, [r for r in shown if r["runner"] == runner], truths)
            yield ""


def _summary(runner: str, rows: Sequence[Row], truths: dict[Key, float]) -> str:
    done = [r for r in rows if r["value"] is not None]
    ratios = [r["value"] / truths[_key(r)] for r in done if _key(r) in truths]
    reasons = dict.fromkeys(r["note"].split(":")[0] for r in rows if r["value"] is None)
    cells = [
        f"{len(done)} of {len(rows)}",
        _seconds(sum(r["seconds"] * r["count"] for r in done)) if done else "—",
        _ratio(statistics.median(ratios) if ratios else None),
        _ratio(max(ratios, default=None)),
        _megabytes(max((r["memory"] for r in done), default=None)),
        ", ".join(reasons),
    ]
    return f"| {runner} | {' | '.join(cells)} |"


def _quotient(one: Row, two: Row) -> float | None:
    return one["value"] / two["value"] if one["value"] is not None and two["value"] else None


def _ratio(value: float | None) -> str:
    if value is None:
        return "—"
    # Ratios are rounded up, except those of baselines below the truth, which must not look harmless.
    return f"{math.ceil(value * 1e6) / 1e6:.6f}" if value >= 1 else f"{math.floor(value * 1e8) / 1e8:.8f}"


def _seconds(value: float | None) -> str:
    return "—" if value is None else f"{value:.3g}"


def _megabytes(value: int | None) -> str:
    return "—" if value is None else f"{value / 1e6:.0f}"
