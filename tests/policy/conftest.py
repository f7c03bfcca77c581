"""Policies from text, judged on a hand-made report."""

from datetime import date
from pathlib import Path

import pytest
import sample_report as sample

from lipaudit.policy import judge
from lipaudit.policy.reading import read_policy

TODAY = date(2026, 6, 1)


@pytest.fixture
def policy():
    def read(text, name="lipaudit.toml"):
        return read_policy(text.encode("utf-8"), Path("/somewhere") / name)

    return read


@pytest.fixture
def judged(policy):
    def of(text, today=TODAY, baselines=None, *, strict=False, **changes):
        return judge(policy(text), sample.evidence(**changes), today, baselines, strict=strict)

    return of
