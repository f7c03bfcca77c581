"""`lipaudit attest` and `lipaudit keygen`: files and passphrases in, envelopes and keys out.

The report is judged before a passphrase is asked for, and the envelope is read back before it is written.
"""

from __future__ import annotations

import os
import stat
import sys
from getpass import getpass
from pathlib import Path

from lipaudit.attest import keys
from lipaudit.attest.envelope import LARGEST, attested
from lipaudit.attest.statement import Statement, payload_of, read_statement
from lipaudit.cli import outputs, streams
from lipaudit.errors import ExitCode, InputRefused, InputUnavailable, UsageError
from lipaudit.moment import moment
from lipaudit.report.wording import printable

__all__ = ["attest", "keygen", "public_key"]

_PASSPHRASE = "LIPAUDIT_KEY_PASSPHRASE"  # noqa: S105 -- the variable's name
_MAKE_KEY = "`lipaudit keygen key.pem` makes a pair"
_MAKE_REPORT = "`lipaudit MODEL -o report.json` writes one"


def attest(report: str, key: str | None, output: str | None) -> ExitCode:
    """Sign a report's evidence.

    Args:
        report: path of the JSON report.
        key: path of the private key.
        output: path of the attestation; None or "-": stdout.

    Returns:
        0 once the attestation is written, whatever the verdict in it.

    Raises:
        LipauditError: whatever keeps it from being made.
    """
    if key is None:
        raise UsageError("--key is missing: nothing can be signed without one", hint=_MAKE_KEY)
    place = None if output in (None, "-") else Path(str(output))
    if place is not None:
        outputs.check_place(place, {Path(report): "the report itself", Path(key): "the key itself"})
    at = moment()
    text = _text(report, _MAKE_REPORT)
    try:
        payload = payload_of(text, at)
    except InputRefused as error:
        raise InputRefused(f"{report}: {error.message}", hint=error.hint) from error
    private = keys.read_private(_bytes(key, keys.LARGEST_KEY, _MAKE_KEY), key, _known_passphrase)
    _warn_if_shared(key)
    envelope = attested(payload, private)
    if place is None:
        streams.write_data(envelope)
    else:
        outputs.write_file(place, envelope)
    for line in _told(read_statement(payload), private.public):
        streams.say(line)
    if place is not None:
        streams.say(f"wrote {place}")
    return ExitCode.PASS


def keygen(path: str, *, encrypt: bool) -> ExitCode:
    """Make a key pair; the private file is only its owner's to read.

    Args:
        path: of the private key; the public one lies beside it.
        encrypt: whether a passphrase protects the private key.

    Raises:
        UsageError: if one of the files exists or cannot be written.
    """
    private_path, public_path = Path(path), Path(f"{path.removesuffix('.pem')}.pub.pem")
    for place in (private_path, public_path):  # before a passphrase is asked for
        if os.path.lexists(place):
            raise UsageError(f"{place} exists and is not replaced", hint="name another file")
    key = keys.generated()
    pem = keys.private_pem(key, _new_passphrase() if encrypt else None)
    outputs.write_new(private_path, pem, 0o600)
    try:
        outputs.write_new(public_path, keys.public_pem(key.public), 0o644)
    except BaseException:
        private_path.unlink(missing_ok=True)
        raise
    protection = "encrypted" if encrypt else "not encrypted: whoever reads it signs in your name"
    streams.write_data(
        f"private key  {private_path} (mode 0600, {protection})\n"
        f"public key   {public_path}\n"
        f"keyid        {key.public.keyid}\n"
    )
    return ExitCode.PASS


def public_key(path: str) -> keys.PublicKey:
    """A signer's public key, from its file.

    Raises:
        LipauditError: if the file is missing, or holds no such key.
    """
    return keys.read_public(_bytes(path, keys.LARGEST_KEY, _MAKE_KEY), path)


def _told(statement: Statement, key: keys.PublicKey) -> list[str]:
    """What was signed, about which files, with which key."""
    predicate = statement.predicate
    files = [f"about      {printable(s.name)} sha256:{s.digest.sha256}" for s in statement.subject]
    return [
        f"attested   {predicate.verdict.upper()} (exit {predicate.exit_code}) at {predicate.attested_at}",
        *files,
        f"evidence   sha256:{predicate.evidence_sha256}",
        f"signed by  {key.algorithm.name} keyid {key.keyid}",
    ]


def _known_passphrase() -> str:
    given = os.environ.get(_PASSPHRASE)
    return given if given is not None else _asked("passphrase of the key: ")


def _new_passphrase() -> str:
    given = os.environ.get(_PASSPHRASE)
    if given is not None:
        return given
    first = _asked("passphrase for the new key: ")
    if first != _asked("the same again: "):
        raise UsageError("the two passphrases differ: no key was made")
    return first


def _asked(question: str) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "a passphrase is needed, and there is no terminal to ask for it", hint=f"set {_PASSPHRASE}"
        )
    try:
        return getpass(question)
    except EOFError as error:
        raise KeyboardInterrupt from error


def _text(path: str, hint: str) -> str:
    try:
        return _bytes(path, LARGEST, hint).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputRefused(f"{path} is no text in UTF-8 (byte {error.start})", hint=hint) from error


def _bytes(path: str, most: int, hint: str) -> bytes:
    """A file's content, at most so many bytes of it.

    Raises:
        InputUnavailable: if it cannot be read.
        InputRefused: if it is larger.
    """
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(most + 1)
    except FileNotFoundError as error:
        raise InputUnavailable(f"no such file: {path}", hint=hint) from error
    except OSError as error:
        raise InputUnavailable(f"cannot read {path}: {error.strerror}", hint=hint) from error
    if len(data) > most:
        size = f"{most >> 20} MiB" if most >> 20 else f"{most >> 10} KiB"
        raise InputRefused(f"{path} is larger than {size}", hint=hint)
    return data


def _warn_if_shared(key: str) -> None:
    status = Path(key).stat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode) and mode & 0o077:
        streams.say(f"warning: others may read {key} (mode {mode:04o}): chmod 600 it")
