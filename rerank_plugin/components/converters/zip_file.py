"""Files that are zip archives (EPUB, Office): opened only if what they unpack to is bounded."""

import io
import zipfile
import zlib

from rerank_plugin.errors import InputFileError

# Text in an archive is many times smaller than unpacked, and libraries keep it in memory several times.
MAX_UNPACKED_BYTES = 256 << 20
_MAX_MEMBERS = 20_000
_CHUNK_BYTES = 1 << 20
# How files of Office before 2007 begin, and today's with a password.
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def open_zip(data: bytes, kind: str) -> zipfile.ZipFile:
    """
    Open an archive after unpacking it once piece by piece: the sizes that it states may be wrong.

    :param data: The archive.
    :param kind: What it should be, for messages, such as "a Word document".
    :raises InputFileError: If it is damaged, encrypted, or unpacks to more than 256 MiB.
    """
    if data.startswith(_OLE):
        raise InputFileError("is encrypted, or in a format of old Office: save it without a password, in today's format")
    damaged = f"is damaged, or not {kind}: open it in the program that wrote it and save it again"
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        # Another view of the same archive, whose stated sizes may be changed.
        _check(zipfile.ZipFile(io.BytesIO(data)))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError, OverflowError) as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(damaged) from None
    except RuntimeError:  # what zipfile raises for a member with a password
        raise InputFileError("is encrypted: remove its password") from None
    return archive


def _check(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    too_large = InputFileError(
        f"unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB: remove its images, or split it; a file made to exhaust "
        "memory is refused for the same reason"
    )
    if len(members) > _MAX_MEMBERS:
        raise InputFileError(f"is an archive of more than {_MAX_MEMBERS:,} files: split it")
    if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
        raise too_large
    left = MAX_UNPACKED_BYTES
    for member in members:
        member.file_size = left + 1  # so that zipfile reads to the real end
        with archive.open(member) as file:
            while chunk := file.read(_CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    raise too_large
