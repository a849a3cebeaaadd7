"""Who may use the server: keys from a file or the environment, of which only hashes are kept."""

import hmac
import logging
import os
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.serving.settings import ServerSettings

logger = logging.getLogger(__name__)

VARIABLE = "RERANK_SERVE_KEYS"
HASHED = "sha256:"
_LEAST_CHARACTERS = 16
_HASH = re.compile(r"[0-9a-f]{64}")


class KeyRing:
    """
    The keys of a server.

    A file has a key on each line, or `sha256:` with the SHA-256 of one in hexadecimal digits; lines that start with `#` are
    comments. When the file changes, it is read again with the next request: a line that was taken out is revoked. If it
    cannot be read or understood then, that is reported in the log, and the keys stay as they were.

    :param file: The file; `None`: there is none.
    :param keys: Further keys.
    :raises InputFileError: If the file cannot be read, or has no key.
    :raises InvalidValueError: If a key is too short to be secret.
    """

    def __init__(self, file: Path | None = None, keys: Iterable[str] = ()) -> None:
        self._file = file
        self._own = [_hashed(key.strip(), "a key of the environment") for key in keys if key.strip()]
        self._state = self._stat()
        self._of_file = [] if file is None else read_keys(file)

    @property
    def is_open(self) -> bool:
        """Whether there are no keys, so that everyone may use the server."""
        return self._file is None and not self._own

    def admits(self, key: str | None) -> bool:
        """
        Return whether a key is one of these. The time that this takes does not tell how much of a key is right.

        :param key: What the client sent; `None`: nothing.
        """
        self._read_if_changed()
        offered = sha256((key or "").encode("utf-8", "surrogateescape")).digest()
        # A list, not `any`: every key is compared.
        matches = [hmac.compare_digest(offered, known) for known in [*self._own, *self._of_file]]
        return self.is_open or (key is not None and True in matches)

    def _stat(self) -> tuple[int, int, int] | None:
        if self._file is None:
            return None
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read_if_changed(self) -> None:
        state = self._stat()
        if self._file is None or state == self._state:
            return
        self._state = state
        try:
            self._of_file = read_keys(self._file)
            logger.info("the keys were read again: %d", len(self._of_file))
        except (InputFileError, InvalidValueError) as error:
            logger.warning("%s; the keys stay as they were", error)


def keys_for(settings: ServerSettings, file: Path | None, *, without_keys: bool) -> KeyRing:
    """
    Return the keys of a server: those of a file and of the environment.

    :param settings: Where the server listens.
    :param file: The file; `None`: there is none.
    :param without_keys: Whether everyone may use it, although other machines reach it.
    :raises InvalidValueError: If other machines reach it, and there are no keys.
    """
    keys = KeyRing(file, os.environ.get(VARIABLE, "").split(","))
    if keys.is_open and not settings.is_local and not without_keys:
        raise InvalidValueError(
            f"{settings.host} can be reached from other machines, and there are no keys: pass --keys-file, set {VARIABLE}, "
            "or let everyone in with --without-keys"
        )
    return keys


def read_keys(file: Path) -> list[bytes]:
    """
    Read the hashes of the keys in a file.

    :param file: The file.
    :raises InputFileError: If it cannot be read, or has no key.
    :raises InvalidValueError: If a key is too short.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputFileError(f"the keys in {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputFileError(f"{file} is not UTF-8: write a key on each line") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    keys = [_hashed(line, f"line {number} of {file}") for number, line in numbered if line and not line.startswith("#")]
    if not keys:
        raise InputFileError(f"{file} has no keys: write one on each line")
    return keys


def _hashed(key: str, place: str) -> bytes:
    if key.startswith(HASHED):
        digits = key.removeprefix(HASHED).lower()
        if not _HASH.fullmatch(digits):
            raise InvalidValueError(f"{place} is not a SHA-256: {HASHED} is followed by 64 hexadecimal digits")
        return bytes.fromhex(digits)
    if len(key) < _LEAST_CHARACTERS:
        raise InvalidValueError(
            f"{place} has fewer than {_LEAST_CHARACTERS} characters: make a longer one, as by `openssl rand -hex 16`"
        )
    return sha256(key.encode("utf-8")).digest()


def key_of(headers: dict[str, str]) -> str | None:
    """
    Return the key that a client sent, in any of the forms that clients use.

    :param headers: The headers, names in lower case: `Authorization: Bearer KEY`, `Authorization: KEY` (LlamaIndex),
        `Api-Key: KEY` (Pinecone).
    """
    authorization = headers.get("authorization", "").strip()
    if authorization:
        scheme, _, rest = authorization.partition(" ")
        return rest.strip() if scheme.lower() == "bearer" else authorization
    return headers.get("api-key")
