"""What loading adds to an audit: a 50 MB ONNX graph, a checkpoint and a .pt2 of the same size.

    python benchmarks/loading.py [--megabytes 50]

Prints, for each file, the seconds until the layer graph stands, and beside them what the format's own library
takes to read it (onnxruntime's session, torch.load) in the same run, because machines differ and are noisy.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime
import torch
from torch import nn

from lipaudit.load import load_model
from lipaudit.load.translate import translate
from lipaudit.load.verify import check_translation

ARCHITECTURE = """
from torch import nn

def build(width):
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(),
        nn.MaxPool2d(4), nn.Flatten(), nn.Linear(1024, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 10),
    )
"""


def network(megabytes: float) -> tuple[nn.Module, int]:
    """A network of about that many bytes, and its width."""
    width = int((megabytes * 250_000 + 512**2) ** 0.5 - 512)
    space: dict[str, Callable[[int], nn.Module]] = {}
    exec(ARCHITECTURE, space)  # noqa: S102 - the text above
    torch.manual_seed(0)
    return space["build"](width).eval(), width


@contextlib.contextmanager
def timed(what: str, seconds: dict[str, float]) -> Iterator[None]:
    """Wall time of a block."""
    start = time.perf_counter()
    yield
    seconds[what] = time.perf_counter() - start


def measure(path: Path, plain: Callable[[], object], **options: object) -> dict[str, float]:
    """Ours and the library's own reading."""
    seconds: dict[str, float] = {}
    with timed("library", seconds):
        plain()
    with timed("load", seconds):
        loaded = load_model(path, **options)  # type: ignore[arg-type]
    with timed("translate", seconds):
        check_translation(translate(loaded.program), loaded.program, path.name)
    return seconds


def main() -> None:
    """Make the files, load them, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=50)
    module, width = network(parser.parse_args().megabytes)
    example = torch.zeros(1, 3, 32, 32)
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph, weights, program = (Path(folder) / name for name in ("m.onnx", "m.pt", "m.pt2"))
        torch.onnx.export(module, (example,), graph, verbose=False, external_data=False)
        torch.save(module.state_dict(), weights)
        torch.export.save(torch.export.export(module, (example,)), program)
        source = Path(folder) / "net.py"
        source.write_text(ARCHITECTURE, encoding="utf-8")
        arch = f'{source}:build{{"width": {width}}}'
        rows = {
            graph: (lambda: onnxruntime.InferenceSession(graph), {}),
            weights: (
                lambda: torch.load(weights, weights_only=True),
                {"arch": arch, "input_shape": (3, 32, 32)},
            ),
            program: (lambda: torch.export.load(program), {}),
        }
        for path, (plain, options) in rows.items():
            seconds = measure(path, plain, **options)
            size = path.stat().st_size / 1e6
            print(
                f"{path.name:8} {size:6.1f} MB   load {seconds['load']:5.1f} s   translate "
                f"{seconds['translate']:5.1f} s   its own library {seconds['library']:5.1f} s"
            )


if __name__ == "__main__":
    main()
