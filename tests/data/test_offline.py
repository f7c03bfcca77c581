"""`--offline` opens no socket: the real command in a process where a socket is the end."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"

# An audit hook cannot be taken back, and sees what C code does with sockets as well.
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


def test_a_whole_audit(blocked, tmp_path):
    with np.load(SAMPLES / "mnist_test.npz") as stored:
        for i in range(40):
            folder = tmp_path / "digits" / str(int(stored["labels"][i]))
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(stored["images"][i].squeeze()).save(folder / f"{i}.png")
    done = blocked(
        SAMPLES / "mnist_plain" / "model.onnx", "-d", "imagefolder:digits", "--offline", "--no-attack", "-o",
        "r.json", LIPAUDIT_OFFLINE="",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "imagefolder:digits 40 of 40" in done.stdout
