"""Files with secrets: a ZIP whose one entry is encrypted with AES-256 (WinZip's AE-2), as 7-Zip and others open it.

The password goes through PBKDF2 as that format wants it (1,000 rounds of HMAC-SHA-1): it must carry its own
strength, so short ones are refused.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO

import pyzipper
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from devices.transfer.source import LARGEST_FILE, FileUnusable, too_large

SHORTEST_PASSWORD = 12
"""Characters."""

_PIECE = 1 << 16
_MAGIC = b"PK\x03\x04"


def check_password(password: str) -> None:
    """Raise ValidationError for a password that protects nothing."""
    if len(password) < SHORTEST_PASSWORD:
        raise ValidationError(
            {
                "password": _(
                    "Choose at least %(shortest)d characters: the password is all that protects the file."
                )
                % {"shortest": SHORTEST_PASSWORD}
            }
        )


def write(target: IO[bytes], name: str, pieces: Iterable[bytes], password: str) -> None:
    """A ZIP with one encrypted entry `name`. Raises ValidationError for a weak password."""
    check_password(password)
    with pyzipper.AESZipFile(
        target, "w", compression=pyzipper.ZIP_DEFLATED, encryption=pyzipper.WZ_AES
    ) as archive:
        archive.setpassword(password.encode())
        with archive.open(name, "w", force_zip64=True) as entry:
            for piece in pieces:
                entry.write(piece)


def is_archive(source: IO[bytes]) -> bool:
    """True for a ZIP; the stream is where it was."""
    start = source.read(len(_MAGIC))
    source.seek(0)
    return start == _MAGIC


def read(source: IO[bytes], password: str) -> Iterator[bytes]:
    """The bytes of the one entry of an encrypted ZIP. Raises FileUnusable, before the first of them."""
    try:
        archive = pyzipper.AESZipFile(source)
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, pyzipper.BadZipFile, OSError, ValueError, NotImplementedError):
        raise FileUnusable(_("The ZIP file is damaged.")) from None
    if len(entries) != 1 or not entries[0].filename.casefold().endswith((".csv", ".xml")):
        raise FileUnusable(
            _(
                "The ZIP file must hold exactly one CSV or XML file. A spreadsheet's own file is saved as CSV first."
            )
        )
    (entry,) = entries
    if not getattr(entry, "wz_aes_version", None):
        raise FileUnusable(
            _("The ZIP file is not encrypted with AES. Take the file out of it, or encrypt it with AES-256.")
        )
    if entry.file_size > LARGEST_FILE:
        raise too_large()
    if not password:
        raise FileUnusable(_("The ZIP file is encrypted. Enter its password."))
    return _content(archive, entry, password)


def _content(archive: pyzipper.AESZipFile, entry: zipfile.ZipInfo, password: str) -> Iterator[bytes]:
    try:
        with archive, archive.open(entry, pwd=password.encode()) as content:
            while piece := content.read(_PIECE):
                yield piece
    except RuntimeError:  # what pyzipper and zipfile raise for a wrong password
        raise FileUnusable(_("The password does not open the ZIP file.")) from None
    except (
        zipfile.BadZipFile,
        pyzipper.BadZipFile,
        zlib.error,
        OSError,
        ValueError,
        NotImplementedError,
        EOFError,
    ):
        # two bytes tell a wrong password: one in 65,536 passes for right, and then what it opens is none of the file
        raise FileUnusable(_("The ZIP file is damaged, or encrypted with another password.")) from None
