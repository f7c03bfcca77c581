"""The benchmark runs, stops what takes too long, and tells a bound below a witness."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

pytestmark = [
    pytest.mark.skipif(not BENCHMARKS.exists(), reason="installed without its sources"),
    pytest.mark.slow,
]


def python(*arguments):
    """A program in a process of its own: the benchmark forks, which a process with threads should not."""
    search = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_shapes_are_the_published_ones_and_kernels_have_their_spectra():
    done = python(
        "-c",
        "from layers import *\n"
        "for name in ('ResNet-18', 'ResNet-50', 'VGG-16'):\n"
        "    print(sum(layer.count for layer in NETWORKS[name]()), NETWORKS[name]()[0].name)\n"
        "kept = Layer(32, 16, 3, 14)\n"
        "stored = load_file(SAMPLES / 'mnist_plain/model.safetensors')['4.weight']\n"
        "print(torch.equal(trained(kept), stored))\n"
        "layer = Layer(4, 6, 3, 8, mode='circular')\n"
        "for name, make in KERNELS.items():\n"
        "    print(float(torch.linalg.matrix_norm(layer.conv(make(layer)).as_matrix(), 2)))",
    )
    *counts, kept, _, _, delta, bcop = done.stdout.splitlines()
    assert counts == ["20 3→64 7×7 /2 n=224", "53 3→64 7×7 /2 n=224", "13 3→64 3×3 n=224"]
    assert kept == "True"
    assert float(delta) == pytest.approx(1, abs=0.03)
    assert float(bcop) == pytest.approx(1, abs=1e-12)


def test_calls_are_stopped_and_say_why():
    done = python(
        "-c",
        "import time\n"
        "from measuring import Silent, measured\n"
        "def silent():\n    raise Silent('nothing')\n"
        "print(measured(lambda: time.sleep(9), 0.5, 1).note)\n"
        "print(measured(silent, 5, 1).note)\n"
        "print(measured(lambda: bytearray(2**40) and 1.0, 5, 1).note)\n"
        "found = measured(lambda: float(len(bytearray(2**28))), 5, 3)\n"
        "print(found.value, found.runs, found.memory > 2**27)",
    )
    late, silent, large, found = done.stdout.splitlines()
    assert late == "not done within 0.5 s"
    assert silent == "no statement: nothing"
    assert large.startswith("failed")
    assert found == "268435456.0 3 True"


def test_a_bound_below_a_witness_is_told():
    done = python(
        "-c",
        "from spectral import Row, refuted\n"
        "def row(kind, value):\n    return Row('s', 'l', 1, 'k', kind, kind, value, 0.0, 1, 0, '')\n"
        "print([r.kind for r in refuted([row('truth', 1.0), row('method', 0.999999), row('profile', 1.0),\n"
        "                               row('baseline', 0.5), row('method', None)])])",
    )
    assert done.stdout == "['method']\n", done.stderr


def test_a_part_measured_anew_leaves_the_others_alone():
    done = python(
        "-c",
        "from spectral import Row, merged\n"
        "def row(kernel, value):\n    return Row('s', 'l', 1, kernel, 'method', 'm', value, 0.0, 1, 0, '')\n"
        "document = {'environments': {}, 'rows': []}\n"
        "for kernel, value in (('a', 1.0), ('b', 2.0), ('a', 3.0)):\n"
        "    document = merged(document, f's, {kernel}', {'of': value}, [row(kernel, value)])\n"
        "print(document['environments'], [r['value'] for r in document['rows']])",
    )
    assert done.stdout == "{'s, a': {'of': 3.0}, 's, b': {'of': 2.0}} [2.0, 3.0]\n", done.stderr


def test_a_part_of_the_benchmark(tmp_path):
    done = python(str(BENCHMARKS / "spectral.py"), "--quick", "--only", "growth", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "quick-spectral.json").read_text(encoding="utf-8"))
    assert {row["section"] for row in document["rows"]} == {"growth"}
    assert document["environments"]["growth, he"]["threads"] == 1
    assert all((row["value"] is None) == bool(row["note"]) for row in document["rows"])
    assert "### Growth" in done.stdout
