"""Published files into the user cache: mirrors, digests, and nothing half written under a final name.

A file gets its name once its digests are the published ones; until then it is ``NAME.part``, which a later
run continues.  A wrong digest after a continued transfer may be the older part's fault, so that the file is
fetched once more from its beginning; a wrong digest after that is the mirror's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from lipaudit.data.places import OFFLINE, is_offline, user_cache
from lipaudit.data.published import Remote
from lipaudit.data.source import Progress, Request
from lipaudit.data.transfer import PATIENCE, Patience, discard, pull
from lipaudit.errors import InputUnavailable

__all__ = ["advice", "download", "obtain"]


def obtain(name: str, remotes: Sequence[Remote], request: Request, missing: str) -> Path:
    """The folder of the user cache that holds these files, fetched unless that is forbidden.

    Args:
        name: of the data set; the folder's name.
        remotes: the files.
        request: says whether we are offline, and who watches.
        missing: what was not found where, for the message.

    Raises:
        InputUnavailable: offline, or no mirror has them.
    """
    folder = user_cache() / name
    if is_offline(asked=request.offline):
        raise InputUnavailable(
            f"{missing} (offline: nothing is downloaded)",
            hint=f"{advice(remotes, folder)}; or leave out --offline and ${OFFLINE}",
        )
    for remote in remotes:
        try:
            download(remote, folder, request.progress)
        except InputUnavailable as error:
            raise InputUnavailable(f"{missing}; {error.message}", hint=advice(remotes, folder)) from error
    request.progress.stage("loading data", 0)
    return folder


def advice(remotes: Sequence[Remote], folder: Path) -> str:
    """What to fetch and where to put it."""
    files = " and ".join(f"{remote.urls[0]} (md5 {remote.md5})" for remote in remotes)
    return f"fetch {files} into {folder}, or name a folder that has it with --data-dir or $LIPAUDIT_DATA"


def download(remote: Remote, folder: Path, progress: Progress, patience: Patience = PATIENCE) -> Path:
    """`folder`/`remote.file`, fetched if it is not there yet.

    Raises:
        InputUnavailable: no mirror gave the published bytes, or `folder` cannot be written.
    """
    target = folder / remote.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Two audits at once share one part file: the second waits, and finds the first one's result.
        with FileLock(str(folder / f".{remote.file}.lock")):
            if not target.exists():
                _fetch(remote, target, progress, patience)
    except OSError as error:
        raise InputUnavailable(
            f"{target} cannot be written ({error.strerror or error})",
            hint="free the folder, or choose another cache with $XDG_CACHE_HOME",
        ) from error
    return target


def _fetch(remote: Remote, target: Path, progress: Progress, patience: Patience) -> None:
    part = target.with_name(target.name + ".part")
    failures = []
    for url in remote.urls:
        reason = _from_mirror(url, remote, part, patience, progress)
        if reason is None:
            part.replace(target)
            discard(part)
            return
        failures.append(f"{urlsplit(url).netloc} {reason}")
    raise InputUnavailable(f"{remote.file} cannot be downloaded: {'; '.join(failures)}")


def _from_mirror(url: str, remote: Remote, part: Path, patience: Patience, progress: Progress) -> str | None:
    """What went wrong, or None if `part` holds the published bytes."""
    continued = part.exists()
    reason = _complete(url, part, patience, progress)
    if reason is not None:
        return reason
    if _is_published(part, remote):
        return None
    discard(part)
    if continued:
        return _from_mirror(url, remote, part, patience, progress)
    return f"sent other bytes than the published ones (md5 is not {remote.md5})"


def _complete(url: str, part: Path, patience: Patience, progress: Progress) -> str | None:
    idle, best = 0, _size(part)
    while True:
        trouble = pull(url, part, patience, progress)
        if trouble is None:
            return None
        if not trouble.again:
            return trouble.reason
        # Whoever sends something new each time may go on; a file has an end.
        idle, best = (0, _size(part)) if _size(part) > best else (idle + 1, best)
        if idle >= patience.attempts:
            return f"{trouble.reason}, {idle} times in a row"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _is_published(part: Path, remote: Remote) -> bool:
    with part.open("rb") as stream:
        md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        stream.seek(0)
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return (md5, sha256) == (remote.md5, remote.sha256)
