"""Keys: which are taken, what the others are told, and what a key's id is."""

import hashlib
import subprocess
from shutil import which

import pytest
import sample_attestation as s

from lipaudit.attest import keys
from lipaudit.errors import InputRefused, UsageError

PAIRS = ["ed25519", "p256"]


def never():
    pytest.fail("asked for a passphrase that nothing needs")


@pytest.mark.parametrize("name", PAIRS)
def test_what_one_half_signs_the_other_verifies(name):
    signer = keys.read_private(s.pem_of(s.RAW[name]), "k", never)
    checker = s.public(name)
    signature = signer.sign(b"message")
    assert checker.verifies(signature, b"message")
    assert not checker.verifies(signature, b"massage")
    assert not checker.verifies(signature[:-1], b"message")
    assert not checker.verifies(b"", b"message")
    assert not s.public("another").verifies(signature, b"message")
    assert signer.public.keyid == checker.keyid


def test_no_algorithm_verifies_the_others_signatures():
    for one, other in (PAIRS, PAIRS[::-1]):
        assert not s.public(one).verifies(s.private(other).sign(b"m"), b"m")


@pytest.mark.parametrize("name", PAIRS)
def test_the_keyid_is_the_digest_of_the_public_key(name):
    pem = s.public_pem_of(s.RAW[name])
    der = keys.serialization.load_pem_public_key(pem).public_bytes(
        keys.serialization.Encoding.DER, keys.serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert s.public(name).keyid == hashlib.sha256(der).hexdigest()


@pytest.mark.skipif(which("openssl") is None, reason="no openssl on this machine")
def test_openssl_writes_the_same_public_key(tmp_path):
    key = keys.generated()
    (tmp_path / "key.pem").write_bytes(keys.private_pem(key, None))
    command = ["openssl", "pkey", "-in", tmp_path / "key.pem", "-pubout"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert done.stdout == keys.public_pem(key.public)
    der = subprocess.run([*command, "-outform", "DER"], capture_output=True, check=True, timeout=60).stdout
    assert hashlib.sha256(der).hexdigest() == key.public.keyid


def test_new_keys_differ_and_read_back():
    first, second = keys.generated(), keys.generated()
    assert first.public.keyid != second.public.keyid
    again = keys.read_private(keys.private_pem(first, None), "k", never)
    assert again.public.keyid == keys.read_public(keys.public_pem(first.public), "k").keyid
    assert first.public.keyid == again.public.keyid


@pytest.mark.parametrize("name", PAIRS)
def test_encrypted_keys_take_their_passphrase_and_no_other(name):
    pem = s.pem_of(s.RAW[name], s.PHRASE)
    assert keys.read_private(pem, "k", lambda: s.PHRASE).public.keyid == s.public(name).keyid
    for wrong in ("wrong", ""):
        with pytest.raises(InputRefused, match="the passphrase is wrong"):
            keys.read_private(pem, "k", lambda given=wrong: given)


def test_new_keys_can_be_encrypted():
    key = keys.generated()
    pem = keys.private_pem(key, "größe\udcff")
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert keys.read_private(pem, "k", lambda: "größe\udcff").public.keyid == key.public.keyid
    for impossible in ("", "x" * 5000):
        with pytest.raises(UsageError, match="cannot be used"):
            keys.private_pem(key, impossible)


@pytest.mark.parametrize("name", s.FOREIGN)
def test_other_algorithms_are_named(name):
    raw = s.FOREIGN[name]
    with pytest.raises(InputRefused, match=name) as told:
        keys.read_private(s.pem_of(raw), "k.pem", never)
    assert "Ed25519 and ECDSA P-256" in told.value.hint
    with pytest.raises(InputRefused, match=name):
        keys.read_public(s.public_pem_of(raw), "k.pem")


def test_the_wrong_half_is_told_from_the_right_one():
    with pytest.raises(InputRefused, match="holds a public key; the private one signs"):
        keys.read_private(s.public_pem_of(s.RAW["ed25519"]), "k", never)
    for passphrase in (None, s.PHRASE):
        with pytest.raises(InputRefused, match="holds a private key; the public one is needed"):
            keys.read_public(s.pem_of(s.RAW["ed25519"], passphrase), "k")


BROKEN = [
    b"",
    b"\x00" * 100,
    b"-----BEGIN PRIVATE KEY-----",
    b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
    b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJK",
    s.pem_of(s.RAW["ed25519"]) + s.pem_of(s.RAW["another"]),
    s.public_pem_of(s.RAW["ed25519"]) * 2,
    s.pem_of(s.RAW["ed25519"]).replace(b"MC4", b"MC5"),
]


@pytest.mark.parametrize("pem", BROKEN)
def test_what_is_no_key_is_refused(pem):
    with pytest.raises(InputRefused, match=r"k\.pem"):
        keys.read_private(pem, "k.pem", lambda: "x")
    with pytest.raises(InputRefused, match=r"k\.pem"):
        keys.read_public(pem, "k.pem")


def test_a_private_key_does_not_show_itself():
    assert bytes(range(32)).hex() not in repr(s.KEY)
