"""Small idx files and archives, made on the spot; no test here looks outside its own folder for data."""

import gzip
import struct

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    """No MNIST of the machine's owner may be found by accident."""
    monkeypatch.delenv("LIPAUDIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def digits():
    """Twelve 5 x 4 images and their labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (12, 5, 4), dtype=np.uint8), np.arange(12) % 10


@pytest.fixture
def write_idx():
    def write(path, array, *, magic=None, claim=None):
        array = np.asarray(array, np.uint8)
        shape = claim or array.shape
        data = (
            (magic or bytes([0, 0, 8, array.ndim])) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return path

    return write


@pytest.fixture
def write_mnist(write_idx, digits):
    def write(folder, *, prefix="t10k", joint="-", suffix="", images=None, labels=None):
        images = digits[0] if images is None else images
        labels = digits[1] if labels is None else labels
        write_idx(folder / f"{prefix}-images{joint}idx3-ubyte{suffix}", images)
        write_idx(folder / f"{prefix}-labels{joint}idx1-ubyte{suffix}", labels)
        return folder

    return write


@pytest.fixture
def write_npz(tmp_path):
    def write(**arrays):
        path = tmp_path / "set.npz"
        np.savez(path, **arrays)
        return f"npz:{path}"

    return write
