"""One `lipaudit audit` as it was typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["AuditRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """The options as text; `auditing` gives them meaning."""

    model: str
    dataset: str = "none"
    limit: int | None = None
    eps: Sequence[str] = ()
    max_lipschitz: str | None = None
    min_certified: Sequence[str] = ()
    arch: str | None = None
    device: str = "auto"
    output: Sequence[str] = ()
    quiet: bool = False
    verbose: int = 0
    color: str = "auto"
    all_layers: bool = False
    data_dir: str | None = None
    offline: bool = False
    resize: str | None = None
    crop: str | None = None
    seed: int | None = None
    allow_global: Sequence[str] = ()
    trust_pickle: str | None = None
    input_shape: str | None = None
    logits: str | None = None
    mean: str | None = None
    std: str | None = None
    scale: str | None = None
    layout: str | None = None
    threat_space: str = "pixel"
    method: Sequence[str] = ()
    profile: str = "balanced"
    memory: str = "2GiB"
    no_attack: bool = False
    plot: Sequence[str] = ()
    policy: str | None = None
    no_policy: bool = False
