"""Public keys: their fingerprints, and fresh pairs. Nothing about whose they are.

Source: RFC 4253 §6.6 (fingerprints as Nova shows them are MD5 over the key blob); X.509 over SHA-1.
"""

import base64
import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_public_key,
)


def _colons(digest: str) -> str:
    return ":".join(digest[n : n + 2] for n in range(0, len(digest), 2))


def ssh_fingerprint(public_key: str) -> str:
    """The fingerprint of an OpenSSH public key. Raises ValueError for what is none."""
    try:
        load_ssh_public_key(public_key.encode())
        blob = base64.b64decode(public_key.split()[1], validate=True)
    except (UnsupportedAlgorithm, ValueError, IndexError) as error:
        raise ValueError("not a public key in OpenSSH's format") from error
    return _colons(hashlib.md5(blob, usedforsecurity=False).hexdigest())


def x509_fingerprint(certificate: str) -> str:
    """The fingerprint of a PEM certificate. Raises ValueError for what is none."""
    found = x509.load_pem_x509_certificate(certificate.encode())
    return _colons(found.fingerprint(hashes.SHA1()).hex())  # noqa: S303  the format clients know


def make_pair() -> tuple[str, str]:
    """A fresh Ed25519 pair: (private key in OpenSSH's format, public key)."""
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return text, public
