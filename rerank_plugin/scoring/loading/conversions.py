"""Converted models on disk, so that a second start neither converts nor loads torch."""

import json
import logging
import math
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rerank_plugin.errors import ModelError
from rerank_plugin.files import CACHE_VARIABLE, cache_folder
from rerank_plugin.locks import LocksUnavailableError, acquire_lock

logger = logging.getLogger(__name__)

FORMAT = 4
# Written last, so a folder that has it is complete. It lists the other files with their sizes and checksums.
RECORD = "conversion.json"
PARTIAL = ".partial"
BLOCK = 1 << 22


@dataclass(frozen=True)
class Conversion:
    """
    What a converted model depends on.

    :param fingerprint: The model's fingerprint, see `fingerprint`.
    :param backend: The backend that it is converted for.
    :param precision: Precision of the stored weights.
    :param versions: Versions of the libraries that convert and run it.
    :param name: Readable name of the model; used in the folder's name only.
    """

    fingerprint: str
    backend: str
    precision: str
    versions: str
    name: str

    @property
    def folder_name(self) -> str:
        """A readable name, followed by a hash of everything else."""
        facts = [FORMAT, self.fingerprint, self.backend, self.precision, self.versions]
        key = sha256(json.dumps(facts).encode()).hexdigest()[:16]
        return f"{self.name[:80]}-{self.backend}-{self.precision}-{key}"


def find_or_convert(conversion: Conversion, write: Callable[[Path], None]) -> Path:
    """
    Return the folder of a converted model; convert it if there is none, or if one of its files is damaged.

    The folder appears atomically, complete. Of several processes that need the same conversion, one makes it while the
    others wait. If an intact conversion exists, nothing is written: a read-only cache is enough.

    :param conversion: The conversion.
    :param write: Writes all files into the folder that it is given.
    :returns: The folder.
    :raises ModelError: If the cache folder cannot be written.
    """
    folder = cache_folder() / conversion.folder_name
    if find_damage(folder) is None:
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder) as is_held:
            damage = find_damage(folder)
            if damage is None:
                return folder  # another process made it in the meantime
            if folder.exists():
                logger.warning("The converted model in %s is damaged (%s): it is converted again", folder, damage)
            if is_held:
                _remove_leftovers(folder)
            _convert(conversion, write, folder)
    except OSError as error:
        raise ModelError(
            f"converted models cannot be kept in {folder.parent} ({error.strerror or error}): set {CACHE_VARIABLE} to a "
            "folder that can be written, or choose backend 'torch', which needs none"
        ) from error
    return folder


def find_damage(folder: Path) -> str | None:
    """
    Compare a converted model with the sizes and checksums recorded when it was made.

    CRC-32 detects disk errors and interrupted copies. It takes about 50 ms for 90 MB, half as long as SHA-256.

    :param folder: The folder of the conversion.
    :returns: What is damaged; `None` if nothing is.
    """
    if not folder.is_dir():
        return "it does not exist"
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        version, files = (
            record["format"],
            {str(name): (fact["size"], fact["crc32"]) for name, fact in record["files"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{RECORD} is missing or cannot be read"
    if version != FORMAT or not files:
        return f"{RECORD} has format {version} and lists {len(files)} files; this version reads format {FORMAT}"
    damages = (_damage_of(folder / name, size, checksum) for name, (size, checksum) in files.items())
    return next((damage for damage in damages if damage is not None), None)


def _damage_of(file: Path, size: int, checksum: int) -> str | None:
    try:
        if file.stat().st_size != size:
            return f"{file.name} does not have the size that was written"
        return None if _crc32(file) == checksum else f"{file.name} does not have the checksum that was written"
    except OSError as error:
        return f"{file.name} cannot be read: {error.strerror}"


def _convert(conversion: Conversion, write: Callable[[Path], None], folder: Path) -> None:
    """Make a conversion in a partial folder, and move it into place atomically. The caller holds the lock."""
    logger.info(
        "converting %s for %s (%s), once; it is kept in %s",
        conversion.name,
        conversion.backend,
        conversion.precision,
        folder.parent,
    )
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=PARTIAL, dir=folder.parent))
    replaced = partial.with_name(f"{partial.name.removesuffix(PARTIAL)}-old{PARTIAL}")
    try:
        write(partial)
        files = {
            file.relative_to(partial).as_posix(): {"size": file.stat().st_size, "crc32": _crc32(file)}
            for file in sorted(partial.rglob("*"))
            if file.is_file()
        }
        record: dict[str, Any] = {"format": FORMAT, **asdict(conversion), "files": files}
        (partial / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")
        partial.chmod(0o755)  # mkdtemp's folder is readable by its owner only, but a cache may be shared
        if folder.exists():
            folder.rename(replaced)  # processes that have the damaged files open keep them
        partial.rename(folder)
    except OSError:
        # Without locks (see `_lock`) another process may have been faster.
        if find_damage(folder) is not None:
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _crc32(file: Path) -> int:
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


@contextmanager
def _lock(folder: Path, *, wait: float = math.inf) -> Iterator[bool]:
    """
    Hold the right to convert into a folder, and to clean up after those who did.

    :param folder: The folder of the conversion.
    :param wait: For how many seconds to wait until other processes have released it.
    :returns: Whether the lock is held. It is not where another process has it (without `wait`), and where the system or the
        file system knows no locks: a conversion may be made twice then, but each is still put in place in one step.
    """
    try:
        lock = acquire_lock(folder.with_name(f".{folder.name}.lock"), wait=wait, keep_file=False)
    except LocksUnavailableError:
        lock = None
    with lock or nullcontext():
        yield lock is not None


def _remove_leftovers(folder: Path) -> None:
    """
    Remove what conversions left behind whose process was killed. The caller holds the lock of `folder`.

    A partial folder is made by the holder of its conversion's lock: who gets that lock knows that nobody writes there.
    """
    for partial in folder.parent.glob(f".*{PARTIAL}"):
        owner = folder.with_name(partial.name[1:].removesuffix(PARTIAL).rpartition(".")[0])
        if owner == folder:
            shutil.rmtree(partial, ignore_errors=True)
            continue
        with _lock(owner, wait=0) as is_abandoned:
            if is_abandoned:
                shutil.rmtree(partial, ignore_errors=True)
