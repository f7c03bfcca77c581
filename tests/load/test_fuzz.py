"""Thousands of damaged files, seeded: refused or read, never a defect, a hang, or the machine's memory.

Each file is read by a forked process that has imported everything: first what the reading process does, then
what its caller does with the outcome.  The first part may crash, as it may there; the second may not.
"""

import gc
import importlib
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mutations
import numpy as np
import pytest

from lipaudit import load
from lipaudit.errors import ExitCode, LipauditError
from lipaudit.load.child import outcome
from lipaudit.load.isolated import Limits
from lipaudit.load.wire import get_failure, get_reading

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "models" / "onnx"
SAMPLES = sorted((ROOT / "sample_models").glob("*/model.onnx"))
IMPORTED = (
    *("lipaudit.load.checkpoint", "lipaudit.load.onnx", "lipaudit.load.pytorch", "lipaudit.load.safety"),
    *("onnx2torch", "onnxruntime", "torch.export", "torchvision"),
)
"""What reading a file imports: once here, so that no forked process has to."""
MEMORY = 2 << 30
SECONDS = 20
ARCH = """
from torch import nn

def net():
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
"""

pytestmark = pytest.mark.slow


def small_published(limit):
    if not SHARED.exists():
        return []
    files = [path for path in sorted(SHARED.glob("*.onnx")) if path.stat().st_size < 30_000]
    return [path.read_bytes() for path in files[:: max(1, len(files) // limit)]]


def onnx_files(count, seed):
    """Damaged graphs; those we built are small and quick, so most are theirs."""
    bases = [*mutations.graphs().values()] * 4 + small_published(20)
    samples = [path.read_bytes() for path in SAMPLES]
    for i in range(count):
        random = np.random.default_rng([seed, i])
        base = mutations.pick(random, samples if i % 20 == 0 else bases)
        way = mutations.damage_onnx if random.random() < 0.85 else mutations.pick(random, mutations.BYTES)
        yield f"onnx {seed}/{i}", {"m": way(base, random)}


def checkpoint_files(count, seed):
    bases = mutations.checkpoints()
    for i in range(count):
        random = np.random.default_rng([seed, i])
        name, (data, way) = mutations.pick(random, bases.items())
        way = way if random.random() < 0.7 else mutations.pick(random, mutations.BYTES)
        yield f"{name} {seed}/{i}", {"m": way(data, random)}


def external_files(count, seed):
    pair = mutations.external_pair()
    for i in range(count):
        data, weights = mutations.damage_external(pair, np.random.default_rng([seed, i]))
        yield f"external {seed}/{i}", {"m": data, "w.bin": weights}


def resident(pid):
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def computed(pid):
    """Seconds of processor time, which other work on the machine does not lengthen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def work(folder, report):
    """In the forked process: load the file, tell how far that came."""

    def read(data, request):
        told, blobs = outcome(data, request, lambda _: None)
        failure = get_failure(told)
        if failure is not None:
            raise failure
        os.write(report, b"read\n")
        return get_reading(told, blobs)

    load.read_apart = read
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    try:
        load.load_model(folder / "m", arch=None, input_shape=None)
        told = "0 loaded"
    except LipauditError as error:
        told = f"{int(error.exit_code)} {error.message}"
        if "architecture is missing" in told:
            told = with_architecture(folder)
    except BaseException:  # noqa: BLE001 - that is what is looked for
        told = f"70 {traceback.format_exc()}"
    os.write(report, told.encode("utf-8", "replace")[-3000:])


def with_architecture(folder):
    try:
        load.load_model(folder / "m", arch=f"{folder.parent / 'arch.py'}:net", input_shape=(4,))
    except LipauditError as error:
        return f"{int(error.exit_code)} {error.message}"
    return "0 loaded"


def try_file(folder):
    """Returns (exit code, what was said); what crashes or takes too much while being read is refused."""
    mine, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(12 * SECONDS)
        os.close(mine)
        try:
            work(folder, theirs)
        finally:
            os._exit(0)
    os.close(theirs)
    text, started, why = b"", time.monotonic(), ""
    while True:
        ready, _, _ = select.select([mine], [], [], 0.02)
        if ready:
            chunk = os.read(mine, 4096)
            if not chunk:
                break
            text += chunk
        taken, waited, held = computed(pid), time.monotonic() - started, resident(pid)
        allowed = MEMORY if b"read\n" in text else Limits().memory
        if held > allowed or taken > SECONDS or waited > 10 * SECONDS:
            why = f"killed after {taken:.1f} s of {waited:.1f} s with {held >> 20} MiB"
            os.kill(pid, signal.SIGKILL)
            break
    os.close(mine)
    _, status = os.waitpid(pid, 0)
    said = text.decode("utf-8", "replace").replace("read\n", "")
    code = os.waitstatus_to_exitcode(status)
    if why or code:
        return (70 if b"read\n" in text else 4), f"{why or f'ended with {code}'} {said}"
    number, _, message = said.partition(" ")
    return int(number), message


def try_all(files, tmp_path):
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a forked process would copy the memory it looks at
    try:
        return try_each(files, tmp_path)
    finally:
        gc.unfreeze()


def try_each(files, tmp_path):
    (tmp_path / "arch.py").write_text(ARCH)
    defects, codes = [], {}
    for index, (name, contents) in enumerate(files):
        folder = tmp_path / str(index)
        folder.mkdir()
        for file, content in contents.items():
            (folder / file).write_bytes(content)
        code, said = try_file(folder)
        codes[code] = codes.get(code, 0) + 1
        if code not in (0, 2, 3, 4, 5):
            defects.append(f"{name}: {code} {said}")
    assert not defects, "\n\n".join([f"{len(defects)} defects, {codes}", *defects[:10]])
    return codes


@pytest.mark.parametrize("part", range(4))
def test_damaged_graphs(part, tmp_path):
    codes = try_all(onnx_files(170, seed=part), tmp_path)
    assert codes[4] > 100
    assert codes[0] > 3


@pytest.mark.parametrize("part", range(5))
def test_damaged_checkpoints(part, tmp_path):
    codes = try_all(checkpoint_files(240, seed=100 + part), tmp_path)
    assert codes[4] > 100
    assert codes[0] > 3


def test_damaged_external_data(tmp_path):
    codes = try_all(external_files(120, seed=200), tmp_path)
    assert codes[4] > 50
    assert codes[0] > 3


def test_the_command_itself(tmp_path):
    """A documented code, and no traceback."""
    files = [*onnx_files(14, seed=300), *checkpoint_files(6, seed=301), *external_files(4, seed=302)]

    def run(item):
        index, (name, contents) = item
        folder = tmp_path / str(index)
        folder.mkdir()
        for file, content in contents.items():
            (folder / file).write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-m", "lipaudit", str(folder / "m"), "-q", "--no-attack"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        fine = done.returncode in set(ExitCode) - {ExitCode.INTERNAL} and "Traceback" not in done.stderr
        return "" if fine else f"{name}: {done.returncode}\n{done.stderr[-2000:]}"

    with ThreadPoolExecutor(2) as pool:
        defects = [told for told in pool.map(run, enumerate(files)) if told]
    assert not defects, "\n\n".join(defects)
