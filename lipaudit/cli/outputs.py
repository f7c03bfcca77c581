"""`-o`: where reports go, whether they can go there, and writing them so that no half is ever seen.

A target is checked before the audit begins, since an hour of work must not end in "permission
denied".  A file is replaced in one step (`os.replace`) by one that was written completely beside it.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lipaudit.cli import streams
from lipaudit.cli.places import check_apart
from lipaudit.errors import UsageError
from lipaudit.policy import Policy
from lipaudit.report import FORMATS, SUFFIXES, Format

__all__ = [
    "REPORTS",
    "Known",
    "Target",
    "check_new",
    "check_place",
    "check_targets",
    "judged_by",
    "parse_targets",
    "plotted",
    "write_file",
    "write_models",
    "write_new",
    "write_targets",
]

_NAMED = re.compile(r"([A-Za-z]+)=(.*)", re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_CHUNK, _CHUNKS = 1 << 20, 16


Written = TypeVar("Written")


@dataclass(frozen=True, slots=True)
class Target(Generic[Written]):
    """One report (or comparison) to write; `path` None is stdout."""

    format: Format[Written]
    path: Path | None


@dataclass(frozen=True, slots=True)
class Known(Generic[Written]):
    """The formats that something can be written in, by name and by suffix."""

    formats: Mapping[str, Format[Written]]
    suffixes: Mapping[str, Format[Written]]


REPORTS = Known(FORMATS, SUFFIXES)


def parse_targets(texts: Iterable[str], known: Known[Written]) -> tuple[Target[Written], ...]:
    """`report.json`, `json=PATH`, `json=-`.

    Args:
        texts: as they were typed.
        known: what they may ask for.

    Raises:
        UsageError: for a format nobody knows, or two reports to one place.
    """
    targets = tuple(_parse(text, known) for text in texts)
    check_apart([target.path for target in targets])
    return targets


def plotted(paths: Iterable[str]) -> list[str]:
    """What `--plot` asks for, as `-o` says it.

    Raises:
        UsageError: for a file that is not called a picture of that kind.
    """
    for path in paths:
        if Path(path).suffix.lower() != ".svg":
            raise UsageError(
                f"--plot {path}: a plot is SVG, so its name ends in .svg",
                hint=f"--plot {Path(path).stem or 'curve'}.svg, or -o svg=PATH for any name; other programs "
                "make pixels or PDF of it",
            )
    return [f"svg={path}" for path in paths]


def _parse(text: str, known: Known[Written]) -> Target[Written]:
    names = ", ".join(known.formats)
    named = _NAMED.fullmatch(text)
    if named:
        name, place = named.groups()
        if name not in known.formats:
            raise UsageError(f"-o {text}: no format is called {name!r}", hint=f"formats: {names}")
        if not place:
            raise UsageError(f"-o {text}: the path is missing", hint=f"{name}=- is stdout")
        return Target(known.formats[name], None if place == "-" else Path(place))
    if text in ("", "-"):
        raise UsageError(
            f"-o {text!r} names no format", hint="json=- writes JSON to stdout, text=- the screen"
        )
    fitting = known.suffixes.get(Path(text).suffix.lower())
    if fitting is None:
        suffixes = ", ".join(known.suffixes)
        hint = f"suffixes: {suffixes}; or FORMAT=PATH with one of {names}"
        raise UsageError(f"-o {text}: the name does not tell a format", hint=hint)
    return Target(fitting, Path(text))


def check_targets(targets: Iterable[Target[Any]], kept: Mapping[Path, str]) -> None:
    """Try every target before the work begins, leaving nothing behind.

    Args:
        targets: where to write.
        kept: what is read, see `check_place`.

    Raises:
        UsageError: if one cannot be written, or is one of them.
    """
    for target in targets:
        if target.path is not None:
            check_place(target.path, kept)


def judged_by(policy: Policy | None) -> dict[Path, str]:
    """The files that a judgement rests on: a report in their place would move the limit with every run."""
    if policy is None:
        return {}
    file = {} if policy.file is None else {policy.file.path: "the policy itself"}
    return file | dict.fromkeys(policy.baselines, "a baseline of the policy")


def check_place(path: Path, kept: Mapping[Path, str]) -> None:
    """Try one place before the work begins, leaving nothing behind.

    All that is written is text: what holds anything else (weights, images) was not written by us, and is
    replaced nowhere.

    Args:
        path: where something is to be written.
        kept: what must not be replaced, and what it is: files, and folders of data, in which only files with
            the suffix of a report are.

    Raises:
        UsageError: if it cannot be written, or is one of them.
    """
    with _reported(path):
        what = next((what for place, what in kept.items() if _is_within(path, place)), "")
        if not what and path.is_file() and not _is_text(path):
            what = "no text, so no report"
        if what:
            raise UsageError(f"-o {path} is {what}", hint="it would be replaced: name another file")
        if path.is_dir():
            raise UsageError(f"cannot write {path}: it is a folder", hint="name a file in it")
        if _is_replaceable(path):
            if path.exists() and not os.access(path, os.W_OK):
                raise UsageError(f"cannot write {path}: it is read-only")
            _beside(Path(os.path.realpath(path))).unlink()
        elif not os.access(path, os.W_OK):
            raise UsageError(f"cannot write {path}: permission denied")


def check_new(path: Path, kept: Mapping[Path, str], *, force: bool) -> None:
    """Try the place of a model before the work begins: it replaces nothing that was not given away.

    Raises:
        UsageError: if it is read, exists (unless `force`), or cannot be written.
    """
    with _reported(path):
        what = next((what for place, what in kept.items() if _is_the(path, place)), "")
        if what:
            raise UsageError(f"-o {path} is {what}", hint="it would be replaced: name another file")
        if path.is_dir():
            raise UsageError(f"cannot write {path}: it is a folder", hint="name a file in it")
        if os.path.lexists(path):
            if not force:
                raise UsageError(
                    f"{path} exists and is not replaced", hint="name another file, or add --force"
                )
            if not path.is_file() or not os.access(path, os.W_OK):
                raise UsageError(f"cannot write {path}: it is no file that can be replaced")
        _beside(Path(os.path.realpath(path))).unlink()


def write_models(files: Mapping[Path, bytes], kept: Mapping[Path, str], *, force: bool) -> None:
    """Each is written whole beside its place before the first one takes it: none if one cannot be written.

    Raises:
        UsageError: if one cannot be written, two go to one place, or a place was taken meanwhile.
    """
    check_apart(files)
    drafts: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            check_new(path, kept, force=force)
            with _reported(path):
                final = Path(os.path.realpath(path))
                drafts[final] = _beside(final)
                with drafts[final].open("wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                drafts[final].chmod(_mode(final))
        for final, draft in drafts.items():
            with _reported(final):
                if force:
                    draft.replace(final)
                else:  # a link fails where a file has appeared meanwhile; a rename would replace it
                    _appear(draft, final)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _appear(draft: Path, final: Path) -> None:
    try:
        final.hardlink_to(draft)
    except FileExistsError as error:
        raise UsageError(f"{final} exists and is not replaced", hint="name another file") from error
    except OSError:  # a file system without links
        draft.replace(final)


def _is_the(path: Path, kept: Path) -> bool:
    """Whether that very file is read; a folder of data is, with all in it that exists."""
    return path.exists() and kept.exists() and (_is_within(path, kept) or path.samefile(kept))


def write_targets(targets: Iterable[Target[Written]], report: Written, *, quiet: bool = False) -> None:
    """Write every report; one that fails does not keep the others from being written.

    Args:
        targets: where to.
        report: what.
        quiet: whether to leave out what stderr is told otherwise: each file, and what it lacks.

    Raises:
        UsageError: if one failed (the first).
    """
    failed: list[UsageError] = []
    for target in targets:
        try:
            _write_one(target, report)
        except UsageError as error:
            failed.append(error)
            continue
        if not quiet:
            _tell(target, report)
    if failed:
        raise failed[0]


def write_file(path: Path, text: str) -> None:
    """Write one file, whole or not at all.

    Raises:
        UsageError: if it cannot be written.
    """
    with _reported(path):
        _write(path, text.encode("utf-8", "surrogateescape"))


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that does not exist yet; from its first byte on it has these permissions.

    Raises:
        UsageError: if it exists (also as a link that leads nowhere), or cannot be written.
    """
    with _reported(path):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError as error:
            raise UsageError(f"{path} exists and is not replaced", hint="name another file") from error
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _write_one(target: Target[Written], report: Written) -> None:
    text = target.format.render(report)
    if target.path is None:
        write = streams.write_screen if target.format.name == "text" else streams.write_data
        write(text)
    else:
        write_file(target.path, text)


def _tell(target: Target[Written], report: Written) -> None:
    lacking = target.format.lacking(report)
    if target.path is not None:
        streams.say(f"wrote {target.path}{f' ({lacking})' if lacking else ''}")
    elif lacking:
        streams.say(f"{target.format.name} on stdout: {lacking}")


def _write(path: Path, data: bytes) -> None:
    if not _is_replaceable(path):  # /dev/null must stay a device
        with path.open("wb") as stream:
            stream.write(data)
        return
    final = Path(os.path.realpath(path))  # a link keeps pointing where it does
    draft = _beside(final)
    try:
        with draft.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        draft.chmod(_mode(final))
        draft.replace(final)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _is_within(path: Path, kept: Path) -> bool:
    """Whether a file is there that is this one, or lies in this folder and may be data."""
    if not path.exists() or not kept.exists():
        return False
    if not kept.is_dir():
        return path.samefile(kept)
    # The folder may hold a link that leads out of it, and may be one itself.
    lies = any(Path(real(path)).is_relative_to(real(kept)) for real in (os.path.abspath, os.path.realpath))
    return lies and path.is_file() and path.suffix.lower() not in SUFFIXES


def _is_text(path: Path) -> bool:
    """Whether there is no control character in a file but those that text has, as far as it is looked at."""
    with path.open("rb") as stream:
        return all(not _CONTROL.search(stream.read(_CHUNK)) for _ in range(_CHUNKS))


def _beside(path: Path) -> Path:
    """A new empty file in the same folder, so that replacing needs no copy."""
    descriptor, name = tempfile.mkstemp(prefix=".lipaudit-", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    return Path(name)


def _mode(path: Path) -> int:
    """The permissions the file has, or those a new file gets."""
    with contextlib.suppress(FileNotFoundError):
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _is_replaceable(path: Path) -> bool:
    return path.is_file() or not path.exists()


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        folder = path.parent
        if folder.is_dir():  # /proc, say
            raise UsageError(
                f"cannot write {path}: no file can be made in {folder}", hint="choose another place"
            ) from error
        raise UsageError(f"cannot write {path}: no folder {folder}", hint="create it first") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot write {path}: {reason}", hint="choose another place") from error
