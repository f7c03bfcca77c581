"""Untrusted bytes are read in a process of their own, whose memory and time are watched.

Parsers, checkers and runtimes written in C++ crash, recurse and allocate on hostile files.  Here that ends a
child process, and becomes a refusal that says so.

The child is spawned, not forked: whoever calls this may run threads, OpenMP or CUDA, which do not survive a
fork.  It imports what the format needs (ONNX 0.2 s, checkpoints 2 s for torch).  It gets the bytes the parent
has read, so what is hashed is what is read; both directions are unlinked temporary files, which no ending of
either process leaves behind.  It is no sandbox against code: code is kept from running by `safety`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from lipaudit.errors import InputRefused, LipauditError
from lipaudit.load.reading import Contents, Request
from lipaudit.load.wire import ANNOUNCED, get_failure, get_reading, put, take

__all__ = ["Limits", "read_apart"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reading process may take.

    Args:
        memory: resident bytes for a file of no size; torch alone takes 0.7 GB of them.
        memory_per_byte: … and for each byte of the file: the bytes themselves, the parsed message, arrays,
            the runtime's copy, and two results.
        seconds: of processor time.  Waiting for a busy machine does not count.
        seconds_per_byte: … a second for each 4 MiB; a 100 MB graph is read and run in 3 s.
        patience: wall time per second of processor time, for what hangs without computing.
    """

    memory: int = 1792 << 20
    memory_per_byte: int = 6
    seconds: float = 15.0
    seconds_per_byte: float = 1.0 / (4 << 20)
    patience: float = 20.0


_POLL = 0.02
"""Seconds between two looks at the memory: a process fills at most 100 MB in that time."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); from lipaudit.load.child import main; main()"
)
_KEPT = ("PATH", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_TAIL = 400


def read_apart(data: bytes, request: Request, limits: Limits | None = None) -> Contents:
    """Read `data` in a child process.

    Raises:
        LipauditError: what `reading.read` raises.
        InputRefused: reading it crashed, or took too much memory or time.
    """
    limits = limits or Limits()
    with (
        tempfile.TemporaryFile() as job,
        tempfile.TemporaryFile() as result,
        tempfile.TemporaryFile() as spoken,
    ):
        seconds = limits.seconds + len(data) * limits.seconds_per_byte
        told = {
            "request": asdict(request),
            "seconds": seconds,
            "seconds_per_byte": limits.seconds_per_byte,
        }
        put(job, told, data)
        job.seek(0)
        with _process(job, result, spoken) as process:
            why = _watch(process, result, len(data), limits)
        code = process.returncode
        if code == 0 and not why:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                result.seek(ANNOUNCED)
                header, blobs = take(result)
                failure = get_failure(header)
                if failure is not None:
                    raise failure
                return get_reading(header, blobs)
        raise _ended(request.name, why or _ending(code), result, spoken)


@contextlib.contextmanager
def _process(job: BinaryIO, result: BinaryIO, spoken: BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
    """The child; dead when the block ends, however it ends."""
    if not sys.executable:
        raise LipauditError("this Python does not know its own path (sys.executable), so no file can be read")
    # The current folder may hold a file called onnx.py: it is not searched.
    paths = [path for path in sys.path if path and Path(path).is_absolute()]
    descriptors = (job.fileno(), result.fileno())
    process = subprocess.Popen(  # noqa: S603 - this very Python, no shell
        [sys.executable, "-I", "-W", "ignore", "-c", _START, *map(str, descriptors), json.dumps(paths)],
        stdin=subprocess.DEVNULL,
        stdout=spoken,
        stderr=spoken,
        pass_fds=descriptors,
        env=_environment(),
        start_new_session=True,  # Ctrl-C is for the parent, which ends the child
    )
    try:
        yield process
    finally:
        if process.returncode is None:  # not reaped: the number is still this process's
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment() -> dict[str, str]:
    """Little enough that no variable changes what is read; one thread, no GPU."""
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    return {**kept, **dict.fromkeys(_ONE_THREAD, "1"), "CUDA_VISIBLE_DEVICES": ""}


def _watch(process: subprocess.Popen[bytes], result: BinaryIO, size: int, limits: Limits) -> str:
    """Wait for the end; kill what takes too much, and say what that was."""
    started = time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_POLL)
            return ""
        announced = os.pread(result.fileno(), ANNOUNCED, 0)
        total = size + int(announced or b"0")
        allowed = limits.memory + limits.memory_per_byte * total
        if _resident(process.pid) > allowed:
            process.kill()
            return f"takes more than {allowed >> 20} MiB of memory"
        patience = limits.patience * (limits.seconds + limits.seconds_per_byte * total)
        if time.monotonic() - started > patience:
            process.kill()
            return f"takes more than {patience:.0f} s"


def _resident(pid: int) -> int:
    """Bytes of memory a process holds; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, IndexError):
        if Path("/proc/self/statm").exists():
            return 0
    asked = subprocess.run(  # noqa: S603 - a number
        ["ps", "-o", "rss=", "-p", str(pid)],  # noqa: S607 - where the system keeps it (macOS, BSD)
        capture_output=True,
        check=False,
    )
    return int(asked.stdout.strip() or b"0") << 10


def _ending(code: int) -> str:
    """What a return code says about a process that gave no answer."""
    if code == -getattr(signal, "SIGXCPU", 0):
        return "takes too much processor time"
    if code == -signal.SIGKILL:
        return "was ended by the system, probably out of memory"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"crashes the library that does it ({signal.Signals(-code).name})"
    return f"ends the process that does it (code {code})" if code else "ends without an answer"


def _ended(name: str, why: str, result: BinaryIO, spoken: BinaryIO) -> LipauditError:
    """The error where no answer came."""
    if os.fstat(result.fileno()).st_size == 0:
        spoken.seek(max(0, os.fstat(spoken.fileno()).st_size - _TAIL))
        tail = ascii(spoken.read().decode("utf-8", "replace").strip())[1:-1]
        return LipauditError(
            f"the process that reads files could not start ({why}): {tail}",
            hint="is this Python installation complete? `python -m lipaudit` must work in it",
        )
    return InputRefused(
        f"{name} is refused: reading it {why}",
        hint="a file that does this is damaged, hostile or far too large; if it is sound, please report it",
    )
