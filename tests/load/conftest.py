"""Files are read in the test's own process here, where that process is not what is tested: it starts in
0.3 s for ONNX and 2 s for checkpoints, and there are hundreds of files.
"""

import pytest

from lipaudit import load
from lipaudit.load.reading import read

APART = ("test_isolated", "test_trust", "test_fuzz")
"""Modules whose subject is the reading process, or what only it may do."""


@pytest.fixture(autouse=True)
def _read_here(request, monkeypatch):
    if request.module.__name__.rpartition(".")[2] not in APART:
        monkeypatch.setattr(load, "read_apart", read)
