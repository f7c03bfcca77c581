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


@pytest.fixture
def pictures():
    """Seven 32 x 32 colour images and their labels below 10."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (7, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, 7)


@pytest.fixture
def python2_pickle():
    """What Python 2's cPickle made of a batch, operation by operation, with protocol 2."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def numbers(values):
        return b"](" + b"".join(b"K" + bytes([int(v)]) for v in values) + b"e"

    def write(images, labels, *, key=b"labels", count=None):
        raw = images.tobytes()
        array = (
            b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07(K\x01M"
            + struct.pack("<H", len(images) if count is None else count)
            + b"M\x00\x0c\x86cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87Rq\t(K\x03U\x01|NNNJ\xff\xff\xff\xffJ"
            + b"\xff\xff\xff\xffK\x00tb\x89T"
            + struct.pack("<I", len(raw))
            + raw
            + b"tb"
        )
        names = b"](" + b"".join(text(b"leptodactylus_%d.png" % i) for i in range(len(images))) + b"e"
        items = [
            text(b"batch_label") + b"q\x02" + text(b"testing batch 1 of 1"),
            text(key) + b"q\x03" + numbers(labels),
            text(b"data") + b"q\x04" + array,
            text(b"filenames") + names,
        ]
        return b"\x80\x02}q\x01(" + b"".join(items) + b"u."

    return write
