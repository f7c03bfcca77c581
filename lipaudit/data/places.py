"""Where named data sets are looked for, and which messages say so.

In this order: `--data-dir`, `$LIPAUDIT_DATA`, ./data, ./datasets, ~/data, ~/datasets, `$TORCH_HOME`/datasets
(else ~/.cache/torch/datasets), and the user cache, which is also where downloads go.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["OFFLINE", "is_file", "is_folder", "is_offline", "listed", "named_roots", "roots", "user_cache"]

OFFLINE = "LIPAUDIT_OFFLINE"
_NO = ("", "0", "false", "no", "off")


def named_roots(data_dir: Path | None) -> list[Path]:
    """The folders somebody named: the option's, then the variable's."""
    named = os.environ.get("LIPAUDIT_DATA")
    given = [data_dir, Path(named) if named else None]
    return [folder for folder in given if folder is not None]


def roots(data_dir: Path | None) -> list[Path]:
    """Every folder that may hold data sets, the most explicit one first."""
    usual = [Path("data"), Path("datasets"), *_of_home("data"), *_of_home("datasets")]
    torch_home = os.environ.get("TORCH_HOME")
    torch = [Path(torch_home)] if torch_home else [cache / "torch" for cache in _caches()]
    return [
        *named_roots(data_dir),
        *usual,
        *(folder / "datasets" for folder in torch),
        user_cache(),
    ]


def user_cache() -> Path:
    """The folder that downloads go to; it need not exist."""
    return next((cache / "lipaudit" for cache in _caches()), Path(".lipaudit-cache"))


def is_offline(*, asked: bool) -> bool:
    """Whether no socket may be opened: by option, or by `$LIPAUDIT_OFFLINE` (0, false, no, off: may)."""
    return asked or os.environ.get(OFFLINE, "").strip().lower() not in _NO


def is_file(path: Path) -> bool:
    """Whether a file is there that we may see; pathlib raises where a folder above it is locked."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Likewise."""
    try:
        return path.is_dir()
    except OSError:
        return False


def listed(folders: Iterable[Path]) -> str:
    """Each folder once, for a message."""
    return ", ".join(dict.fromkeys(str(folder) for folder in folders))


def _caches() -> list[Path]:
    base = os.environ.get("XDG_CACHE_HOME")
    return [Path(base)] if base else _of_home(".cache")


def _of_home(name: str) -> list[Path]:
    try:
        return [Path.home() / name]
    except RuntimeError:  # a user without a home, as in some containers
        return []
