"""Keys: Ed25519 (RFC 8032), or ECDSA on P-256 with SHA-256 (FIPS 186-5), as PEM files.

Private keys are PKCS#8 (RFC 5958), plain or encrypted; public keys are SubjectPublicKeyInfo (RFC 5280,
4.1.2.7).  A key's id is the SHA-256 of its SubjectPublicKeyInfo in DER, in hex: `openssl pkey -pubin -in
key.pub.pem -outform DER | sha256sum` prints the same.

Which of the two a signature is made by follows from the key alone, never from what a file says about itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from lipaudit.errors import InputRefused, UsageError

__all__ = [
    "ALGORITHMS",
    "LARGEST_KEY",
    "Algorithm",
    "PrivateKey",
    "PublicKey",
    "generated",
    "private_pem",
    "public_pem",
    "read_private",
    "read_public",
]

LARGEST_KEY = 2**16
"""Bytes of a key file; an encrypted PKCS#8 file has a few hundred."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A way to sign, and the keys that it belongs to."""

    name: str
    private: type
    public: type
    fits: Callable[[Any], bool]
    sign: Callable[[Any, bytes], bytes]
    verify: Callable[[Any, bytes, bytes], None]


def _is_p256(key: Any) -> bool:  # noqa: ANN401 - a key of either half
    return isinstance(key.curve, ec.SECP256R1)


ALGORITHMS = (
    Algorithm(
        "Ed25519",
        ed25519.Ed25519PrivateKey,
        ed25519.Ed25519PublicKey,
        fits=lambda _: True,
        sign=lambda key, message: bytes(key.sign(message)),
        verify=lambda key, signature, message: key.verify(signature, message),
    ),
    Algorithm(
        "ECDSA P-256",
        ec.EllipticCurvePrivateKey,
        ec.EllipticCurvePublicKey,
        fits=_is_p256,
        sign=lambda key, message: bytes(key.sign(message, ec.ECDSA(hashes.SHA256()))),
        verify=lambda key, signature, message: key.verify(signature, message, ec.ECDSA(hashes.SHA256())),
    ),
)
"""Every algorithm; ECDSA signatures are DER, as openssl and cosign write them."""

_ONLY = "Ed25519 and ECDSA P-256 keys are taken: `lipaudit keygen key.pem` makes a pair"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a signature is checked with."""

    algorithm: Algorithm
    key: Any
    keyid: str

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the owner of this key signed `message`."""
        try:
            self.algorithm.verify(self.key, signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """What signs; its representation does not show it."""

    algorithm: Algorithm
    key: Any
    public: PublicKey

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`."""
        return self.algorithm.sign(self.key, message)


def generated() -> PrivateKey:
    """A new Ed25519 key."""
    return _private(ed25519.Ed25519PrivateKey.generate(), "the new key")


def read_public(pem: bytes, name: str) -> PublicKey:
    """The public key of a PEM file.

    Args:
        pem: the file's bytes.
        name: what messages call it.

    Raises:
        InputRefused: if it holds none, or one of another algorithm.
    """
    label = _label(pem, name)
    if label.endswith("PRIVATE KEY"):
        raise InputRefused(
            f"{name} holds a private key; the public one is needed here",
            hint=f"`openssl pkey -in {name} -pubout` writes it, and the private one stays with you",
        )
    if label != "PUBLIC KEY":
        raise InputRefused(
            f"{name} holds a {label.lower()}; a public key is needed here",
            hint="a PEM file that begins with -----BEGIN PUBLIC KEY-----; of a certificate, `openssl x509 "
            "-pubkey -noout -in FILE` prints it",
        )
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputRefused(f"{name} is no public key: {_reason(error)}", hint=_ONLY) from error
    return _public(key, name)


def read_private(pem: bytes, name: str, passphrase: Callable[[], str]) -> PrivateKey:
    """The private key of a PEM file.

    Args:
        pem: the file's bytes.
        name: what messages call it.
        passphrase: asked if the file is encrypted, and only then.

    Raises:
        InputRefused: if it holds none, one of another algorithm, or one that the passphrase does not open.
    """
    label = _label(pem, name)
    if label == "PUBLIC KEY":
        raise InputRefused(
            f"{name} holds a public key; the private one signs",
            hint="give the file that begins with -----BEGIN PRIVATE KEY-----",
        )
    if label not in ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"):
        raise InputRefused(
            f"{name} holds a {label.lower()}; a PKCS#8 private key is needed here",
            hint=f"`openssl pkcs8 -topk8 -in {name} -out pkcs8.pem` converts other PEM keys",
        )
    is_encrypted = label.startswith("ENCRYPTED")
    password = passphrase().encode("utf-8", "surrogateescape") if is_encrypted else None
    try:
        key = serialization.load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if is_encrypted:
            raise InputRefused(
                f"{name} cannot be decrypted: the passphrase is wrong, or the file is damaged",
                hint="the passphrase is LIPAUDIT_KEY_PASSPHRASE, if that is set",
            ) from error
        raise InputRefused(f"{name} is no private key: {_reason(error)}", hint=_ONLY) from error
    return _private(key, name)


def private_pem(key: PrivateKey, passphrase: str | None) -> bytes:
    """The private key as PKCS#8, encrypted if there is a passphrase.

    Raises:
        UsageError: if the passphrase is empty or too long to be one.
    """
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        try:
            encryption = serialization.BestAvailableEncryption(passphrase.encode("utf-8", "surrogateescape"))
            return _pkcs8(key, encryption)
        except ValueError as error:
            raise UsageError(f"this passphrase cannot be used: {_reason(error)}") from error
    return _pkcs8(key, encryption)


def public_pem(key: PublicKey) -> bytes:
    """The public key as SubjectPublicKeyInfo."""
    return bytes(
        key.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _pkcs8(key: PrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return bytes(
        key.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )


_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")


def _label(pem: bytes, name: str) -> str:
    """What kind of PEM this is."""
    labels = _BEGIN.findall(pem)
    if len(labels) != 1:
        found = f"{len(labels)} PEM blocks" if labels else "no PEM block"
        raise InputRefused(f"{name} holds {found}; one key is needed", hint=_ONLY)
    return str(labels[0].decode())


def _public(key: Any, name: str) -> PublicKey:  # noqa: ANN401 - whatever the file held
    algorithm = next((a for a in ALGORITHMS if isinstance(key, a.public) and a.fits(key)), None)
    if algorithm is None:
        _refuse(key, name)
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(algorithm, key, hashlib.sha256(der).hexdigest())


def _private(key: Any, name: str) -> PrivateKey:  # noqa: ANN401 - whatever the file held
    algorithm = next((a for a in ALGORITHMS if isinstance(key, a.private) and a.fits(key)), None)
    if algorithm is None:
        _refuse(key, name)
    return PrivateKey(algorithm, key, _public(key.public_key(), name))


def _refuse(key: Any, name: str) -> NoReturn:  # noqa: ANN401 - whatever the file held
    kind = re.sub("(Public|Private)Key$", "", type(key).__name__)
    curve = getattr(getattr(key, "curve", None), "name", "")
    shown = f"{kind} {curve}".strip()
    raise InputRefused(f"{name} holds a key of another algorithm ({shown})", hint=_ONLY)


def _reason(error: BaseException) -> str:
    """The first sentence of what the library says; the rest are its internals."""
    return str(error).partition(". ")[0][:200]
