"""`--offline` opens no socket, and nothing reports to anybody: the real command, watched."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"

# An audit hook cannot be taken back; it sees what Python does with sockets.
BLOCKED = """
import os, sys

def hook(event, arguments):
    if event.startswith("socket."):
        sys.stderr.write(f"SOCKET {event} {arguments}")
        sys.stderr.flush()
        os._exit(99)

sys.addaudithook(hook)
from lipaudit.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def blocked(tmp_path):
    def run(*arguments, **variables):
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "HOME": str(tmp_path),
            **variables,
        }
        return subprocess.run(
            [sys.executable, "-c", BLOCKED, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )

    return run


def test_the_trap_works(blocked):
    """Without it, and without the option, the download would begin: at a proxy that is not there."""
    model = SAMPLES / "mnist_plain" / "model.onnx"
    proxies = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    done = blocked(model, "-d", "mnist", LIPAUDIT_OFFLINE="0", **proxies)
    assert done.returncode == 99, done.stderr
    assert "SOCKET socket." in done.stderr


@pytest.mark.parametrize("name", ["mnist", "cifar100:train"])
def test_a_data_set_that_is_missing(blocked, name):
    done = blocked(SAMPLES / "mnist_plain" / "model.onnx", "-d", name, "--offline", LIPAUDIT_OFFLINE="")
    assert done.returncode == 5, done.stderr
    assert "offline" in done.stderr
    assert "hint: fetch https://" in done.stderr


@pytest.mark.slow
def test_a_whole_audit(blocked, tmp_path):
    """Of a folder of images, whose sizing the report states."""
    with np.load(SAMPLES / "mnist_test.npz") as stored:
        for i in range(40):
            folder = tmp_path / "digits" / str(int(stored["labels"][i]))
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(stored["images"][i].squeeze()).save(folder / f"{i}.png")
    options = "-d imagefolder:digits --resize 30 --crop 28 --offline --no-attack -o r.json"
    done = blocked(SAMPLES / "mnist_plain" / "model.onnx", *options.split(), LIPAUDIT_OFFLINE="")
    assert done.returncode == 0, done.stderr
    assert "imagefolder:digits 40 of 40" in done.stdout
    assert "l2 in pixel [0,1] after resizing and cropping" in done.stdout
    evidence = json.loads((tmp_path / "r.json").read_text())["evidence"]
    told = {key: evidence["dataset"][key] for key in ("resize", "crop", "interpolation", "official", "total")}
    assert told == {
        "resize": [30],
        "crop": [28, 28],
        "interpolation": "bilinear, antialiased",
        "official": None,
        "total": 40,
    }
    assert str(tmp_path) not in json.dumps(evidence)


MODEL, DIGITS = SAMPLES / "mnist_plain" / "model.onnx", f"npz:{SAMPLES / 'mnist_test.npz'}"


@pytest.fixture
def environment(tmp_path):
    """As a user has it, who switched nothing off."""
    variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    variables.pop("ORT_DISABLE_TELEMETRY", None)
    return variables


@pytest.mark.slow
def test_no_library_keeps_a_diary(tmp_path, environment):
    """onnxruntime leaves an identifier and a data base of events to send, unless it is told not to."""
    command = [sys.executable, "-m", "lipaudit", str(MODEL), "-d", DIGITS, "--limit", "20", "--no-attack"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_library_opens_an_internet_socket(tmp_path, environment):
    log = tmp_path / "calls"
    watch = ["strace", "-f", "-e", "trace=socket,connect", "-o", str(log)]
    command = [sys.executable, "-m", "lipaudit", str(MODEL), "-d", DIGITS, "--limit", "20", "--no-attack"]
    done = subprocess.run([*watch, *command], cwd=tmp_path, env=environment, capture_output=True, check=False)
    if not log.exists() or "exited with" not in log.read_text():
        pytest.skip("strace may not watch here")
    assert done.returncode == 0, done.stderr
    assert "AF_INET" not in log.read_text()
