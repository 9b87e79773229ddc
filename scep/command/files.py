"""Files that commands read and write: whole or not at all, private ones for their owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from scep.command.outcome import FileProblem
from scep.errors import first_line
from scep.keys import PrivateKey

_MOST = 1024 * 1024


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Raise FileProblem in place of OSError; `what` was tried: "write x"."""
    try:
        yield
    except OSError as error:
        raise FileProblem(f"Cannot {what}: {error.strerror or error}.") from error


def write(path: Path, data: bytes, *, private: bool = False, overwrite: bool = False) -> None:
    """Write `data` so that `path` is whole at any time, `private` with mode 0600.

    Without `overwrite` a file with other content is left alone. Raises FileProblem.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with explained(f"write {path}"):
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(new, flags, 0o600 if private else 0o644), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if overwrite or _holds(path, data):
                new.replace(path)
            else:
                # unlike a rename, a link never takes another's place
                path.hardlink_to(new)
            sync(path.parent)
        except FileExistsError as error:
            raise in_the_way(path) from error
        finally:
            new.unlink(missing_ok=True)


def in_the_way(path: Path) -> FileProblem:
    """What is said of a file that would be overwritten."""
    return FileProblem(f"{path} exists already. Choose another place, or overwrite it with --force.")


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == data


def sync(directory: Path) -> None:
    """Let names that were made or removed outlast a crash of the machine. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> bytes:
    """The content of a file of at most 1 MiB. Raises FileProblem."""
    with explained(f"read {path}"), path.open("rb") as file:
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise FileProblem(
            f"{path} should be of at most {_MOST} bytes; it is longer. Check the name of the file."
        )
    return data


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate in a PEM file, or the one in a DER file. Raises FileProblem."""
    data = read(path)
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except ValueError as error:
        raise FileProblem(f"{path} should hold a certificate, in PEM or DER; it does not.") from error


def read_key(path: Path) -> PrivateKey:
    """The RSA or EC key in a PEM or DER file. Raises FileProblem."""
    data = read(path)
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            key = load_pem_private_key(data, None)
        else:
            key = load_der_private_key(data, None)
    except TypeError as error:
        raise FileProblem(
            f"{path} should hold a private key without a password; it is encrypted. Make a copy without: "
            "openssl pkey -in FILE -out COPY"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FileProblem(f"{path} should hold a private key, in PEM or DER: {first_line(error)}.") from error
    if not isinstance(key, PrivateKey):
        raise FileProblem(f"{path} should hold an RSA or an EC key; it holds {type(key).__name__}.")
    return key


def certificates_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """One after the other, in PEM."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def key_pem(key: PrivateKey) -> bytes:
    """Unencrypted PKCS #8 in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
