"""What a report says about a file that was read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

__all__ = ["ModelFile"]

_Content = bytes
"""`ModelFile` has a field called bytes."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file that was read.

    Args:
        name: base name only; reports carry no host paths.
        sha256: of its bytes.
        bytes: its size.
    """

    name: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, name: str, data: _Content) -> ModelFile:
        """Describe `data`, read from a file called `name`."""
        return cls(name, hashlib.sha256(data).hexdigest(), len(data))
