"""How tight, how fast and how large the proved bounds are, beside what others compute.

    python benchmarks/spectral.py --quick             less than three minutes: does everything run?
    python benchmarks/spectral.py                     80 minutes: the numbers of benchmarks/README.md
    python benchmarks/spectral.py --only ResNet-50    some parts of them, the others stay as they are stored

Every method of `lipaudit.spectral.METHODS` and every profile, on the convolutions of ResNet-18, ResNet-50,
VGG-16 (224×224) and a 32×32 network, with the kernels of `layers.py`, and the baselines of `baselines.py` in
the same run.  One thread.  Each call is a process of its own and is stopped after its cap: its row then holds
the reason in place of numbers.  A part is a network (or a claim) with one kind of kernels.  Its times stand
side by side, so it is measured as a whole: its environment is stored with it, and what its time is too short
for says so.  A proved bound below a witness ends in exit 1.

Writes results/spectral.json after every part, at the end results/spectral-*.svg and the tables between the
markers of README.md; with --quick results/quick-*.json and .svg (not kept by git), and prints the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from baselines import BASELINES, GRID_MAXIMUM, truth
from layers import KERNELS, NETWORKS, Layer, dense
from measuring import Measurement, measured
from tables import markdown, plot

from lipaudit.spectral import METHODS, PROFILES, Conv, Dense, prove
from lipaudit.spectral.method import Method, prepare

HERE = Path(__file__).parent
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
START, END = "<!-- spectral -->", "<!-- /spectral -->"
SPEED = 1e11
"""Float operations per second that no core reaches: what even so would take longer is not run."""
REPEATS = 3
QUICKLY = 150.0
"""Seconds after which --quick starts no call, all parts together."""
SMALL_CAP = 10.0
"""With caps up to this, claims are shown on small maps."""


def part_of(section: str, kernel: str) -> str:
    """What is measured and stored as a whole."""
    return f"{section}, {kernel}"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: `kind` is truth, method, profile or baseline; `note` says why numbers are null."""

    section: str
    layer: str
    count: int
    kernel: str
    kind: str
    runner: str
    value: float | None
    seconds: float | None
    runs: int
    memory: int | None
    note: str


@dataclass(frozen=True, slots=True)
class Task:
    """A map with the runners it is given; caps in seconds, by kind."""

    section: str
    layer: str
    make: Callable[[], Conv | Dense]
    kernel: str
    caps: dict[str, float]
    count: int = 1
    geometry: Layer | None = None
    extra: tuple[Method, ...] = ()


METHODS_ONLY = {"truth": 20.0, "method": 5.0, "profile:fast": 10.0, "profile:balanced": 60.0, "grid": 60.0}
EVERYTHING = {**METHODS_ONLY, "method": 10.0, "profile:tight": 30.0, "baseline": 10.0}


def of_layer(section: str, layer: Layer, kernel: str, caps: dict[str, float]) -> Task:
    """A convolution with one of the kernels."""
    return Task(
        section,
        layer.name,
        lambda: layer.conv(KERNELS[kernel](layer)),
        kernel,
        caps,
        layer.count,
        layer,
    )


def full() -> Iterator[Task]:
    """What README.md shows; the order is that of importance."""
    resnet = NETWORKS["ResNet-18"]()
    yield from (of_layer("ResNet-18", layer, "he", EVERYTHING) for layer in resnet)
    yield from special(sizes=(56, 112, 224, 448), fully=(25088, 4096), cap=400.0)
    for kernel in KERNELS:
        yield from (of_layer("32×32", layer, kernel, EVERYTHING) for layer in NETWORKS["32×32"]())
    for kernel in ("bcop", "trained", "delta"):
        yield from (of_layer("ResNet-18", layer, kernel, METHODS_ONLY) for layer in resnet)
    known = {layer.name for layer in resnet}
    for kernel in ("he", "bcop"):
        for network in ("VGG-16", "ResNet-50"):
            for layer in NETWORKS[network]():
                if kernel == "he" or layer.name not in known:
                    yield of_layer(network, layer, kernel, {**METHODS_ONLY, "method": 3.0, "grid": 20.0})


def quick() -> Iterator[Task]:
    """A little of everything."""
    caps = dict.fromkeys(EVERYTHING, 2.0)
    resnet = NETWORKS["ResNet-18"]()
    yield from (of_layer("ResNet-18", layer, "he", caps) for layer in (resnet[0], resnet[4], resnet[7]))
    yield from special(sizes=(7, 14), fully=(784, 512), cap=2.0)
    for kernel in KERNELS:
        layers = NETWORKS["32×32"]() if kernel == "bcop" else NETWORKS["32×32"]()[:1]
        yield from (of_layer("32×32", layer, kernel, caps) for layer in layers)


def special(sizes: Iterable[int], fully: tuple[int, int], cap: float) -> Iterator[Task]:
    """Claims of their own: five steps on the kernel, growth, flat spectra, a large matrix, the finite map."""
    caps = {"truth": cap, "method": cap, "profile:balanced": cap, "baseline": cap, "grid": cap}
    small = {name: min(value, 60.0) for name, value in caps.items()}
    yield replace(of_layer("five steps", Layer(64, 64, 3, 32), "he", small), extra=five_steps())
    quickly = {name: min(value, 20.0) for name, value in caps.items() if name != "baseline"}
    yield from (of_layer("growth", Layer(64, 64, 3, n), "he", quickly) for n in sizes)
    width = 512 if cap > SMALL_CAP else 32
    for kernel in ("delta", "bcop"):
        for mode in ("zeros", "circular"):
            yield of_layer("flat spectrum", Layer(width, width, 3, 14, mode=mode), kernel, quickly)
    rows, columns = fully
    only = {name: caps[name] for name in ("truth", "method", "profile:balanced")}
    yield Task("dense", f"{columns}×{rows}", lambda: Dense(dense(columns, rows)), "he", only)
    finite = Layer(64, 3, 7, 224, 2) if cap > SMALL_CAP else Layer(16, 3, 3, 16)
    ends = dict.fromkeys(("truth", "profile:balanced", "profile:tight"), 3 * cap)
    yield of_layer("finite", finite, "he", ends)


def five_steps() -> tuple[Method, ...]:
    """Gram iteration on the kernel with the published number of steps, if this version has the method."""
    if find_spec("lipaudit.spectral.gram_zero") is None:
        return ()
    from lipaudit.spectral import gram_zero  # noqa: PLC0415 - newer than this benchmark

    return (replace(gram_zero.method(steps=5), name="gram-zero, 5 steps"),)


def runners(
    task: Task, linear_map: Conv | Dense
) -> Iterator[tuple[str, str, float, Callable[[], float] | str]]:
    """Kind, name, cap and call (or the reason why there is none) of everything a task measures."""
    if "truth" in task.caps:
        yield "truth", "largest witness", task.caps["truth"], partial(truth, linear_map)
    plain, _ = prepare(linear_map)
    cap = task.caps.get("method", 0.0)
    for method in (*METHODS, *task.extra) if cap else ():
        cost = method.cost(plain)
        call = partial(bound_of, method, linear_map)
        dear = f"not run: about {cost:.0e} float operations"
        yield "method", method.name, cap, dear if SPEED * cap < cost < float("inf") else call
    for profile in PROFILES:
        if (name := f"profile:{profile.name}") in task.caps:
            yield "profile", profile.name, task.caps[name], partial(best_of, profile.name, linear_map)
    if task.geometry is not None:
        for name, baseline in BASELINES.items():
            cap = task.caps.get("grid" if name == GRID_MAXIMUM else "baseline", 0.0)
            if cap:
                yield "baseline", name, cap, partial(baseline, task.geometry, linear_map.weight)


def bound_of(method: Method, linear_map: Conv | Dense) -> float:
    """What one method proves without being told where to start."""
    return method.bound(linear_map).value


def best_of(profile: str, linear_map: Conv | Dense) -> float:
    """What `auto` proves, its search for a witness included."""
    return prove(linear_map, profile=profile).bracket.above.value


def run(tasks: Iterable[Task], deadline: float, repeats: int) -> Iterator[Row]:
    """Measure everything; what does not start before the deadline is said to."""
    for task in tasks:
        linear_map = task.make()
        for kind, name, cap, call in runners(task, linear_map):
            if isinstance(call, str):
                found = Measurement(note=call)
            elif time.monotonic() > deadline:
                found = Measurement(note="not run: out of time")
            else:
                found = measured(call, cap, 1 if kind == "truth" else repeats)
            row = Row(task.section, task.layer, task.count, task.kernel, kind, name, **asdict(found))
            said = "—" if row.value is None else f"{row.value:.9g}"
            took = row.note if row.seconds is None else f"{row.seconds:.3f} s"
            print(f"{row.section} | {row.layer} | {row.kernel} | {row.runner} | {said} | {took}", flush=True)
            yield row


def refuted(rows: Iterable[Row]) -> list[Row]:
    """Proved bounds that lie below a witness by more than the witness' own rounding."""
    rows = list(rows)
    seen = {
        (r.section, r.layer, r.kernel): r.value for r in rows if r.kind == "truth" and r.value is not None
    }
    proved = [r for r in rows if r.kind in ("method", "profile") and r.value is not None]
    return [r for r in proved if r.value < seen.get((r.section, r.layer, r.kernel), 0.0) * (1 - 1e-12)]


def environment() -> dict[str, object]:
    """The machine, the libraries, the day."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "blas": "MKL" if torch.backends.mkl.is_available() else "other",
        "orthogonium": find_spec("orthogonium") is not None,
        "date": datetime.now(UTC).date().isoformat(),
    }


def stored(document: dict[str, Any]) -> str:
    """JSON with one measurement per line."""
    facts = json.dumps(document["environments"], ensure_ascii=False, indent=0)
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in document["rows"])
    return f'{{"environments": {facts},\n"rows": [\n{rows}\n]}}\n'


def merged(old: dict[str, Any], part: str, facts: dict[str, object], rows: Iterable[Row]) -> dict[str, Any]:
    """The stored run with one part measured anew."""
    others = [row for row in old["rows"] if part_of(row["section"], row["kernel"]) != part]
    return {
        "environments": {**old["environments"], part: facts},
        "rows": [*others, *(asdict(row) for row in rows)],
    }


def ordered(document: dict[str, Any], parts: Iterable[str]) -> dict[str, Any]:
    """The same in the order of the parts, whatever was measured last; unknown ones at the end."""
    place = {part: number for number, part in enumerate(parts)}
    facts, rows = document["environments"], document["rows"]
    return {
        "environments": dict(sorted(facts.items(), key=lambda pair: place.get(pair[0], len(place)))),
        "rows": sorted(rows, key=lambda r: place.get(part_of(r["section"], r["kernel"]), len(place))),
    }


def main() -> int:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small part, in less than three minutes")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="no call of a part starts after this time"
    )
    parser.add_argument(
        "--only", default="", help="only parts (`ResNet-18, he`) whose names contain this text"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of JSON and plots")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parts: dict[str, list[Task]] = {}
    for task in quick() if arguments.quick else full():
        parts.setdefault(part_of(task.section, task.kernel), []).append(task)
    repeats, name = (1, "quick-spectral") if arguments.quick else (REPEATS, "spectral")
    file = arguments.results / f"{name}.json"
    document: dict[str, Any] = {"environments": {}, "rows": []}
    if file.exists() and not arguments.quick:
        document = json.loads(file.read_text(encoding="utf-8"))
    wrong: list[Row] = []
    all_done = time.monotonic() + QUICKLY
    for part, tasks in parts.items():
        if arguments.only not in part:
            continue
        began = time.monotonic()
        deadline = all_done if arguments.quick else began + 60 * arguments.minutes
        rows = list(run(tasks, deadline, repeats))
        facts = {**environment(), "minutes": round((time.monotonic() - began) / 60, 1), "repeats": repeats}
        document = ordered(merged(document, part, facts, rows), parts)
        file.write_text(stored(document), encoding="utf-8")
        wrong += refuted(rows)
    publish(document, arguments.results, name)
    for row in wrong:
        print(f"REFUTED: {row}")
    return 1 if wrong else 0


def publish(document: dict[str, Any], folder: Path, name: str) -> None:
    """Plots and tables: in README.md, or on the screen."""
    for path in plot(document, folder, name):
        print(f"wrote {path}")
    text = markdown(document)
    if folder != HERE / "results" or name != "spectral":
        print(text)
        return
    readme = HERE / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    readme.write_text(f"{before}{START}\n{text}{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
