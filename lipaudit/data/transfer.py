"""One HTTP request that begins or continues a partial file.

`NAME.part` holds what has arrived, `NAME.part.json` where it came from, the server's validator (ETag or
Last-Modified) and the length.  A later request asks for the rest (``Range``) if the server still has the same
file (``If-Range``); whatever the server makes of that is checked: it may send all of it again, another range,
or another file.  RFC 9110, sections 13 and 14.

urllib of the standard library does all this, proxies and redirects included; another client would only add a
dependency.  What it lacks, a limit on name resolution and on a server that trickles, is added here.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from lipaudit.data.source import Progress

__all__ = ["LARGEST", "PATIENCE", "Patience", "Trouble", "discard", "pull"]

LARGEST = 2**29
"""Bytes; the largest published archive has 170 million."""
_SLOWEST = 1024  # bytes per second, over the time a stall takes
_CHUNK = 2**16
_MEGABYTE = 10**6
_GZIP = b"\x1f\x8b"  # every published file is compressed
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_HEADERS = {"User-Agent": "lipaudit", "Accept-Encoding": "identity"}
_ANSWERED = (200, 206)
_BEYOND = 416


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server may take, in seconds.

    Attributes:
        answer: from the question to the headers, name resolution included.
        stall: without data, or with hardly any.
        attempts: requests in a row that brought nothing new, before a mirror is given up.
    """

    answer: float = 20.0
    stall: float = 30.0
    attempts: int = 3


PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the file is not complete, and whether asking the same server again may help."""

    reason: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class _Note:
    """What is known of the file on the server."""

    url: str
    validator: str | None
    total: int | None


def pull(url: str, part: Path, patience: Patience, progress: Progress) -> Trouble | None:
    """Fetch what `part` lacks.

    Returns:
        None once everything the server announced is there; its content is not judged here.

    Raises:
        OSError: if `part` cannot be written.
    """
    have, note = _state(part)
    answer = _ask(_request(url, have, note), patience)
    if isinstance(answer, Trouble):
        return answer
    with contextlib.closing(answer):
        if answer.status == _BEYOND:
            return _all_there(answer, part, have)
        if answer.status not in _ANSWERED:  # 204 and its like
            return Trouble(f"answered {answer.status} {answer.reason}")
        total, trouble = _agree(answer, url, have, note)
        if trouble is not None:
            discard(part)
            return trouble
        if answer.status == 200:
            have = 0
        if total is not None and total > LARGEST:
            return Trouble(f"announced {total} bytes, too many")
        _write_note(part, _Note(url, _validator(answer), total))
        progress.stage(f"downloading {part.stem} (MB)", (total or 0) // _MEGABYTE)
        progress.advance(have // _MEGABYTE)
        return _receive(answer, part, (have, total), patience, progress)


def discard(part: Path) -> None:
    """Forget what has arrived."""
    part.unlink(missing_ok=True)
    _note_file(part).unlink(missing_ok=True)


def _request(url: str, have: int, note: _Note | None) -> urllib.request.Request:
    headers = dict(_HEADERS)
    if have:
        headers["Range"] = f"bytes={have}-"
        if note is not None and note.url == url and note.validator:
            headers["If-Range"] = note.validator
    return urllib.request.Request(url, headers=headers)  # noqa: S310 -- addresses of `published` only


def _ask(request: urllib.request.Request, patience: Patience) -> HTTPResponse | Trouble:
    """The answer's headers.  In a thread, because name resolution knows no time-out."""
    answers: queue.SimpleQueue[HTTPResponse | Trouble] = queue.SimpleQueue()
    abandoned = threading.Event()

    def ask() -> None:
        answer = _open(request, patience.stall)
        answers.put(answer)
        if abandoned.is_set():
            _drop(answers)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=patience.answer)
    except queue.Empty:
        abandoned.set()
        _drop(answers)
        return Trouble(f"no answer within {patience.answer:g} s")


def _drop(answers: queue.SimpleQueue[HTTPResponse | Trouble]) -> None:
    with contextlib.suppress(queue.Empty):
        late = answers.get_nowait()
        if not isinstance(late, Trouble):
            late.close()


def _open(request: urllib.request.Request, timeout: float) -> HTTPResponse | Trouble:
    opener = urllib.request.OpenerDirector()
    # Not build_opener: a redirect must not reach a file or an FTP server.
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        _Statuses(),
    ):
        opener.add_handler(handler)
    try:
        answer: HTTPResponse = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            return Trouble(f"answered {error.code} {error.reason}")
    except urllib.error.URLError as error:
        return Trouble(f"cannot be reached ({error.reason})")
    except (OSError, HTTPException, ValueError) as error:
        return Trouble(f"gave no usable answer ({str(error) or type(error).__name__})")
    return answer


class _Statuses(urllib.request.HTTPErrorProcessor):
    """The status 416 (no such range) is an answer like another; the rest as usual."""

    def http_response(self, request: urllib.request.Request, response: HTTPResponse) -> HTTPResponse:
        if response.status == _BEYOND:
            return response
        answer: HTTPResponse = super().http_response(request, response)
        return answer

    https_response = http_response


def _state(part: Path) -> tuple[int, _Note | None]:
    """Bytes that have arrived, and their note; without a readable note both are forgotten."""
    if not part.is_file():
        discard(part)
        return 0, None
    try:
        raw = json.loads(_note_file(part).read_text(encoding="utf-8"))
        note = _Note(str(raw["url"]), raw["validator"], raw["total"])
    except (OSError, ValueError, KeyError, TypeError):
        discard(part)
        return 0, None
    return part.stat().st_size, note


def _note_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _write_note(part: Path, note: _Note) -> None:
    _note_file(part).write_text(json.dumps(asdict(note)), encoding="utf-8")


def _validator(answer: HTTPResponse) -> str | None:
    etag = answer.headers.get("ETag")
    # A weak ETag says "means the same", not "has the same bytes".
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")


def _agree(
    answer: HTTPResponse, url: str, have: int, note: _Note | None
) -> tuple[int | None, Trouble | None]:
    """The whole file's length, and what keeps this answer from continuing ours."""
    if answer.status == 200:
        length = answer.headers.get("Content-Length", "")
        return (int(length) if length.isascii() and length.isdigit() else None), None
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != have:
        return None, Trouble("sent another range than it was asked for", again=True)
    total = int(found[3])
    known = note if note is not None and note.url == url else None
    if note is not None and note.total is not None and note.total != total:
        return None, Trouble("has another file than before", again=True)
    if known is not None and known.validator != _validator(answer):
        return None, Trouble("has another file than before", again=True)
    return total, None


def _all_there(answer: HTTPResponse, part: Path, have: int) -> Trouble | None:
    """Nothing follows our bytes: the file is complete, or it is another one."""
    if answer.headers.get("Content-Range", "") == f"bytes */{have}":
        return None
    discard(part)
    return Trouble("has another file than before", again=True)


def _receive(
    answer: HTTPResponse,
    part: Path,
    extent: tuple[int, int | None],
    patience: Patience,
    progress: Progress,
) -> Trouble | None:
    """Append what comes; `extent` is how much there is and how much there will be."""
    have, total = extent
    window, arrived = time.monotonic(), 0
    with part.open("r+b" if have else "wb") as stream:
        stream.seek(have)
        while chunk := _chunk(answer, patience):
            if isinstance(chunk, Trouble):
                return chunk
            if have == 0 and not chunk.startswith(_GZIP[: len(chunk)]):
                return Trouble(f"sent {_described(chunk, answer)} in place of the file")
            if have + len(chunk) > LARGEST:
                return Trouble(f"sent more than {LARGEST} bytes")
            stream.write(chunk)
            progress.advance((have + len(chunk)) // _MEGABYTE - have // _MEGABYTE)
            have, arrived = have + len(chunk), arrived + len(chunk)
            spent = time.monotonic() - window
            if spent > patience.stall:
                if arrived < _SLOWEST * spent:
                    return Trouble(f"sent only {arrived} bytes in {spent:.0f} s", again=True)
                window, arrived = time.monotonic(), 0
    if total is not None and have < total:
        return Trouble(f"broke off after {have} of {total} bytes", again=True)
    return None


def _chunk(answer: HTTPResponse, patience: Patience) -> bytes | Trouble:
    """What has come; empty at the end."""
    try:
        return answer.read1(_CHUNK)
    except TimeoutError:
        return Trouble(f"sent nothing for {patience.stall:g} s", again=True)
    except (OSError, HTTPException, ValueError) as error:
        return Trouble(f"broke off ({str(error) or type(error).__name__})", again=True)


def _described(chunk: bytes, answer: HTTPResponse) -> str:
    page = chunk.lstrip()[:1] == b"<" or answer.headers.get_content_type() == "text/html"
    return "an HTML page" if page else "other data"
