"""No test reaches the network: data sets that are not on this machine stay missing."""

import pytest


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("LIPAUDIT_OFFLINE", "1")
