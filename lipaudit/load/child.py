"""The reading process: takes a request and bytes, answers with plain data, and dies.

Run by `isolated`, which gives it two unlinked files and nothing else.  It limits its own processor time and
leaves no core dump; its memory is watched from outside, because limits on address space do not go together
with libraries that reserve what they never use.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import warnings
from typing import Any

from lipaudit.errors import LipauditError
from lipaudit.load.blame import as_refusal
from lipaudit.load.reading import Announce, Request, read
from lipaudit.load.wire import (
    ANNOUNCED,
    STARTED,
    failure_header,
    get_request,
    put,
    reading_header,
    take,
)

__all__ = ["main", "outcome"]

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Read the request from one descriptor, write the outcome to the other (both named in argv)."""
    _die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    job_descriptor, result_descriptor = (int(text) for text in sys.argv[1:3])
    with os.fdopen(job_descriptor, "rb") as job:
        header, (data,) = take(job)
    seconds = header["seconds"]

    def announce(size: int) -> None:
        _limit_time(seconds + size * header["seconds_per_byte"])
        os.pwrite(result_descriptor, f"{size:0{ANNOUNCED}d}".encode(), 0)

    _limit_time(seconds)
    os.pwrite(result_descriptor, STARTED, 0)
    told, blobs = outcome(data, get_request(header), announce)
    with os.fdopen(result_descriptor, "r+b") as result:
        result.seek(ANNOUNCED)
        put(result, told, *blobs)
    os._exit(0)  # what the libraries do at exit is none of our business, and may fail


def outcome(data: bytes, request: Request, announce: Announce) -> tuple[dict[str, Any], list[bytes]]:
    """The reading, or the failure, as header and blobs."""
    try:
        return reading_header(read(data, request, announce))
    except LipauditError as error:
        return failure_header(error), []
    except Exception as error:  # noqa: BLE001 - a library may raise anything; `blame` tells whose fault it is
        return failure_header(as_refusal(error, request.name)), []


def _limit_time(seconds: float) -> None:
    """Allow this process so much processor time from its start on; the kernel ends it after that."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(seconds) + 1
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def _die_with_parent() -> None:
    """Linux ends this process when the one that waits for it is killed."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
