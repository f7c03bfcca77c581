"""No test reaches the network: data sets that are not on this machine stay missing."""

import pytest

import lipaudit  # noqa: F401 - before onnxruntime, whose telemetry it switches off


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("LIPAUDIT_OFFLINE", "1")
