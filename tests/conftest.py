"""No test reaches the network, and most read model files in their own process."""

import gc
import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker is one thread already: two threads each on two cores make small linear algebra three
    # times as slow.  Before torch is imported, and for the processes that tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import lipaudit  # noqa: F401 - before onnxruntime, whose telemetry it switches off
from lipaudit import load
from lipaudit.load.reading import read

APART = ("test_isolated", "test_trust", "test_fuzz", "test_corpus", "test_resnet")
"""Modules whose subject is the reading process, what only it may do, or what it takes."""


def pytest_collection_finish():
    """What torch and thousands of collected tests hold is not walked again for every few new objects."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Data sets that are not on this machine stay missing."""
    monkeypatch.setenv("LIPAUDIT_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _read_here(request, monkeypatch):
    """A reading process starts in 0.3 s for ONNX and 2 s for checkpoints; there are hundreds of files."""
    if request.module.__name__.rpartition(".")[2] not in APART:
        monkeypatch.setattr(load, "read_apart", read)
