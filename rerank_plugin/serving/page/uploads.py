"""Files that visitors add to an index: what is accepted, and where they are kept."""

import asyncio
import os
import re
import uuid
from contextlib import suppress
from pathlib import Path

from starlette.requests import ClientDisconnect, Request

from rerank_plugin.checks import shown
from rerank_plugin.components.converters.types import BY_SUFFIX, OFFICE_EXTRA, file_type
from rerank_plugin.serving.body import ClientLeftError
from rerank_plugin.serving.problems import RequestError

# Hidden, so that indexing a folder that holds the index does not find them a second time.
FOLDER = ".uploads"
REMOVED = "removed"
MOST_NAME_BYTES = 200
UPLOAD_SECONDS = 600
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class UploadFolder:
    """
    The folder of the uploaded files, inside that of the index.

    :param index: Folder of the index.
    :param max_bytes: Maximum size of a file.
    """

    def __init__(self, index: Path, *, max_bytes: int) -> None:
        self._folder = index.expanduser().resolve() / FOLDER
        self._max_bytes = max_bytes

    def empty_bin(self) -> None:
        """Delete the files that were removed before, and what remained of interrupted uploads."""
        for file in [*(self._folder / REMOVED).glob("*"), *self._folder.glob(".*.part")]:
            with suppress(OSError):
                file.unlink()

    def holds(self, source: str) -> bool:
        """Return whether a file was uploaded."""
        return Path(source).parent == self._folder

    async def receive(self, name: str, request: Request) -> Path:
        """
        Write an uploaded file.

        :param name: Its name.
        :param request: The request, whose body is the file.
        :returns: The file.
        :raises RequestError: If its name, type or size is refused, or there is a file of this name.
        :raises ClientLeftError: If the client closes the connection.
        """
        target = self._folder / checked_name(name)
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self._max_bytes:
            raise self._too_large()
        if target.exists():
            raise RequestError(
                f"{shown(name)} is in the index already: remove it first, or give the file another name", status=409
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f".{uuid.uuid4().hex}.part"
        try:
            await self._write(part, request)
            os.link(part, target)  # fails if there is one now, unlike a rename
        except FileExistsError:
            raise RequestError(f"{shown(name)} is being added by someone else", status=409) from None
        finally:
            part.unlink(missing_ok=True)
        return target

    def discard(self, source: str) -> Path | None:
        """
        Put an uploaded file aside.

        :param source: The file.
        :returns: Where it is now; `None` if it was not uploaded, so that it stays where it is.
        """
        if not self.holds(source) or not Path(source).is_file():
            return None
        aside = self._folder / REMOVED / f"{uuid.uuid4().hex}-{Path(source).name}"[: MOST_NAME_BYTES + 40]
        aside.parent.mkdir(exist_ok=True)
        return Path(source).replace(aside)

    def restore(self, aside: Path, source: str) -> None:
        """
        Put a file back.

        :param aside: Where it is.
        :param source: Where it was.
        :raises RequestError: If another file has its name now.
        """
        if Path(source).exists():
            raise RequestError(f"there is another {shown(Path(source).name)} now: remove it first", status=409)
        aside.replace(source)

    async def _write(self, part: Path, request: Request) -> None:
        size = 0
        try:
            with part.open("xb") as file:
                async with asyncio.timeout(UPLOAD_SECONDS):
                    async for chunk in request.stream():
                        size += len(chunk)
                        if size > self._max_bytes:
                            raise self._too_large()
                        file.write(chunk)
        except TimeoutError:
            raise RequestError(
                f"the file did not arrive within {UPLOAD_SECONDS} seconds: send a smaller one", status=408, kind="too_slow"
            ) from None
        except ClientDisconnect:
            raise ClientLeftError from None

    def _too_large(self) -> RequestError:
        return RequestError(
            f"the file is larger than {self._max_bytes:,} bytes: split it, or start the server with a higher "
            "--max-upload-bytes",
            status=413,
            kind="too_large",
        )


def checked_name(name: str) -> str:
    """
    Check the name of an uploaded file.

    :param name: The name.
    :raises RequestError: If it has a path, is hidden or odd, or its type cannot be indexed.
    """
    if _ODD.search(name) or name.startswith(".") or name != name.strip() or len(name.encode()) > MOST_NAME_BYTES:
        raise RequestError(
            f"{shown(name)} cannot be the name of a file here: no path, no leading dot, no control characters, at most "
            f"{MOST_NAME_BYTES} bytes",
            param="name",
        )
    kind = file_type(Path(name))
    if kind is None:
        raise RequestError(
            f"{shown(name)} has a type that cannot be indexed: send one of {', '.join(sorted(BY_SUFFIX))}", status=415
        )
    if not kind.is_readable:
        raise RequestError(
            f"{shown(name)} needs the extra {OFFICE_EXTRA!r} on the server: pip install 'rerank-plugin[{OFFICE_EXTRA}]'",
            status=415,
        )
    return name
