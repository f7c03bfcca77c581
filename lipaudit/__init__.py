"""lipaudit: proved l2 Lipschitz bounds and certified robustness radii for neural networks.

    import lipaudit
    report = lipaudit.audit("model.onnx", dataset="mnist", max_lipschitz=20)
    print(report.verdict, report.evidence.global_.upper.value)

Names are looked up on first use (PEP 562): importing the package loads neither torch nor pydantic.

onnxruntime's official builds report their use to Microsoft unless this variable is set before the runtime
starts; nothing here reports to anybody, so it is set, for child processes as well.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lipaudit import bounds
    from lipaudit.attest.verify import verify
    from lipaudit.bound import Bound, Bracket, Estimate
    from lipaudit.errors import LipauditError
    from lipaudit.load import load_model
    from lipaudit.pipeline import audit
    from lipaudit.repair.clipped import clip_model
    from lipaudit.report.model import AuditReport
    from lipaudit.spectral import Conv, Dense, bracket
    from lipaudit.training import SpectralClip, regularizer

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"

__all__ = [
    "AuditReport",
    "Bound",
    "Bracket",
    "Conv",
    "Dense",
    "Estimate",
    "LipauditError",
    "SpectralClip",
    "__version__",
    "audit",
    "bounds",
    "bracket",
    "clip_model",
    "load_model",
    "regularizer",
    "verify",
]

_HOME = {
    "AuditReport": "lipaudit.report.model",
    "Bound": "lipaudit.bound",
    "Bracket": "lipaudit.bound",
    "Conv": "lipaudit.spectral",
    "Dense": "lipaudit.spectral",
    "Estimate": "lipaudit.bound",
    "LipauditError": "lipaudit.errors",
    "SpectralClip": "lipaudit.training",
    "audit": "lipaudit.pipeline",
    "bracket": "lipaudit.spectral",
    "clip_model": "lipaudit.repair.clipped",
    "load_model": "lipaudit.load",
    "regularizer": "lipaudit.training",
    "verify": "lipaudit.attest.verify",
}

_MODULES = {"bounds"}
"""Public names that are modules."""
_OWN = {"TYPE_CHECKING", "annotations", "import_module", "os"}
"""What this file alone uses."""


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"lipaudit.{name}")  # which sets the name
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'lipaudit' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - _OWN)
