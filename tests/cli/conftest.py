"""The command line with a hand-made audit in place of the real one."""

import sys
from types import ModuleType

import pytest
import sample_report as sample

from lipaudit.cli import main


class Pipeline:
    """Stands in for `lipaudit.pipeline`: records its arguments, then does as it was told."""

    def __init__(self):
        self.report = sample.report(budgets=(sample.budget(),))
        self.action = None
        self.calls = []

    def audit(self, model, *, progress=None, **arguments):
        self.calls.append({"model": model, **arguments})
        progress.stage("spectral", 3)
        progress.advance()
        progress.advance(2)
        if self.action is not None:
            self.action()
        return self.report


class Outcome:
    """What a command line ended with."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def pipeline(monkeypatch):
    stand_in = Pipeline()
    module = ModuleType("lipaudit.pipeline")
    module.audit = stand_in.audit
    monkeypatch.setitem(sys.modules, "lipaudit.pipeline", module)
    return stand_in


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model [v1] größe.onnx"
    path.write_bytes(b"model")
    return path


@pytest.fixture
def run(capfd):
    def command(*arguments):
        code = main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        assert type(code) is int
        return Outcome(code, out, err)

    return command
