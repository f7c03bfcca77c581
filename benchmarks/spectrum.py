"""Top 10 singular values of a 64→64 convolution, 3×3 at 32×32: PowerQR, block Lanczos, and ARPACK.

    python benchmarks/spectrum.py [--channels 64] [--image 32] [--top 10] [--threads 2] [-o FILE.md]

All three work on the same operator in one run, one after the other, because machines differ and are noisy.
ARPACK (scipy's `svds`) multiplies single vectors by the same convolution in float64; `leading` is what the
command does: a search in float32, the result multiplied once more in float64.  A warm restart follows a
change of the weights of a thousandth.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor

from lipaudit.spectral import Conv
from lipaudit.spectral.block_lanczos import block_lanczos
from lipaudit.spectral.leading import leading_triplets
from lipaudit.spectral.power_qr import power_qr
from lipaudit.spectral.triplets import Triplets

TOLERANCE = 1e-4
"""Of the values, relatively; ARPACK's own is one of residuals, for which this is generous."""
CHANGE = 1e-3
"""Of the weights, in the Frobenius norm."""


def arpack(conv: Conv, top: int) -> Tensor:
    """By scipy, in float64."""
    rows, columns = (torch.Size(shape).numel() for shape in (conv.out_shape, conv.in_shape))

    def product(v: object) -> object:
        return conv.apply(torch.as_tensor(v).reshape(1, *conv.in_shape)).flatten().numpy()

    def back(v: object) -> object:
        return conv.adjoint(torch.as_tensor(v).reshape(1, *conv.out_shape)).flatten().numpy()

    operator = LinearOperator((rows, columns), matvec=product, rmatvec=back, dtype="float64")
    values = svds(operator, k=top, tol=TOLERANCE, return_singular_vectors=False, random_state=0)
    return torch.tensor(sorted(values, reverse=True))


def timed(call: Callable[[], Triplets | Tensor]) -> tuple[float, float, Tensor, str]:
    """Wall seconds, processor seconds, values, and block products."""
    wall, processor = time.perf_counter(), time.process_time()
    found = call()
    seconds = time.perf_counter() - wall, time.process_time() - processor
    if isinstance(found, Triplets):
        return (*seconds, found.values, str(found.steps) if found.settled else f"{found.steps} (not settled)")
    return (*seconds, found, "—")


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, value in (("channels", 64), ("image", 32), ("top", 10), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("-o", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    shape = (asked.channels, asked.channels, 3, 3)
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight *= (2 / (9 * asked.channels)) ** 0.5
    change = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    conv = Conv(weight, asked.image, padding=1)
    moved = Conv(weight + CHANGE * change * weight.norm() / change.norm(), asked.image, padding=1)
    options = {"adjoint": conv.adjoint, "tolerance": TOLERANCE, "dtype": torch.float32}
    start: list[Tensor] = []

    def leading() -> Triplets:
        found = leading_triplets(conv, asked.top, tolerance=TOLERANCE)
        start.append(found.right)
        return found

    def warm() -> Triplets:
        return power_qr(
            moved.apply,
            moved.in_shape,
            asked.top,
            adjoint=moved.adjoint,
            start=start[0],
            tolerance=CHANGE,
            dtype=torch.float32,
        )

    rows = {
        "leading (the command)": leading,
        "block Lanczos, float32": lambda: block_lanczos(conv.apply, conv.in_shape, asked.top, **options),
        "PowerQR, float32": lambda: power_qr(conv.apply, conv.in_shape, asked.top, **options),
        "PowerQR, warm, tolerance 1e-3": warm,
        "ARPACK (scipy svds)": lambda: arpack(conv, asked.top),
    }
    lines = [
        (
            f"{asked.channels}→{asked.channels} 3×3, zero padding, {asked.image}×{asked.image}, top "
            f"{asked.top}, tolerance {TOLERANCE:g}; {platform.system()} {platform.machine()}, "
            f"{asked.threads} threads, torch {torch.__version__}."
        ),
        "",
        "| | seconds | processor seconds | block products | σ₁ | last σ |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, call in rows.items():
        wall, processor, values, steps = timed(call)
        ends = f"{values[0]:.6f} | {values[-1]:.6f}"
        lines.append(f"| {name} | {wall:.2f} | {processor:.2f} | {steps} | {ends} |")
        print(lines[-1], flush=True)
    if asked.o is not None:
        asked.o.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
