"""Converted models on disk, so that a second start neither converts nor loads torch."""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from rerank_plugin.errors import ModelError
from rerank_plugin.files import CACHE_VARIABLE, cache_folder

logger = logging.getLogger(__name__)

FORMAT = 1
# Written last: a folder that has it is whole.
COMPLETE = "conversion.json"


@dataclass(frozen=True)
class Conversion:
    """
    What decides about the bytes of a converted model.

    :param fingerprint: The model, see `fingerprint`.
    :param backend: What it is converted for.
    :param precision: Of its weights.
    :param versions: Of the libraries that convert and run it.
    :param name: What people call it; for the folder's name only.
    """

    fingerprint: str
    backend: str
    precision: str
    versions: str
    name: str

    @property
    def folder_name(self) -> str:
        """A name that people can read, with the hash of everything behind it."""
        facts = [FORMAT, self.fingerprint, self.backend, self.precision, self.versions]
        key = sha256(json.dumps(facts).encode()).hexdigest()[:16]
        return f"{self.name}-{self.backend}-{self.precision}-{key}"


def find_or_convert(conversion: Conversion, write: Callable[[Path], None]) -> Path:
    """
    Return the folder of a converted model; convert it if there is none.

    The folder comes into being in one step, whole; of several processes that convert at once the first to end wins.

    :param conversion: Which one.
    :param write: Writes all files into the folder that it is given.
    :returns: The folder.
    :raises ModelError: If the cache folder cannot be written.
    """
    folder = cache_folder() / conversion.folder_name
    if (folder / COMPLETE).is_file():
        return folder
    logger.info("Converting %s for %s in %s", conversion.name, conversion.backend, conversion.precision)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{conversion.folder_name}-", dir=folder.parent))
    except OSError as error:
        raise ModelError(
            f"converted models cannot be kept in {folder.parent} ({error.strerror}): set {CACHE_VARIABLE} to a folder "
            "that can be written, or choose backend 'torch', which needs none"
        ) from error
    try:
        write(temporary)
        (temporary / COMPLETE).write_text(json.dumps({"format": FORMAT, **asdict(conversion)}, indent=2), encoding="utf-8")
        _put_in_place(temporary, folder)
    except OSError as error:
        raise ModelError(f"the converted model cannot be written to {folder.parent}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _put_in_place(temporary: Path, folder: Path) -> None:
    temporary.chmod(0o755)  # mkdtemp makes a folder that only its owner reads; a shared cache is for all
    try:
        temporary.rename(folder)
    except OSError:
        # Another process was faster; or a folder that is not whole, which only a copy by hand can leave, stands there.
        if (folder / COMPLETE).is_file():
            return
        shutil.rmtree(folder)
        temporary.rename(folder)
