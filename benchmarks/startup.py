"""How long the program takes to answer before it audits anything.

    python benchmarks/startup.py [--rounds 10]

Prints the fastest and the median of several processes for `--help`, `explain` and `schema`.  `--help` is
meant to stay below half a second.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = (["--help"], ["explain", "LIP101"], ["schema"])


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lipaudit", *command], capture_output=True, check=True)  # noqa: S603
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    for command in COMMANDS:
        taken = [seconds(command) for _ in range(rounds)]
        print(
            f"{' '.join(command):<16} {min(taken):.2f} s at best, {statistics.median(taken):.2f} s as a rule"
        )


if __name__ == "__main__":
    main()
