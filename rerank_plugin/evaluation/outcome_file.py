"""The file that keeps a pipeline's answers as they arrive, so that an interrupted evaluation can resume."""

import json
import os
import zlib
from pathlib import Path

from rerank_plugin.errors import InputFileError
from rerank_plugin.evaluation.outcomes import Outcome

FORMAT = 2
# A line is {"check": "12345678", "answer": {...}}; the check is the CRC-32 of the answer's text.
_BEFORE_CHECK, _AFTER_CHECK = b'{"check": "', b'", "answer": '
_ANSWER_AT = len(_BEFORE_CHECK) + 8 + len(_AFTER_CHECK)


class OutcomeFile:
    """
    The outcomes of one pipeline: a line per query, appended as soon as it is known.

    Each line has its key (see `run_key`) and a checksum. Lines under other keys, of failed queries or other formats, and
    damaged ones (cut by a kill, for example) are ignored, and their queries run again. Several processes may append to the
    same file.

    :param path: The file; `None`: outcomes are kept in memory only.
    :raises InputFileError: If the file exists but cannot be read.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        if path is not None:
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as lines:
                for line in lines:
                    self._keep(line.rstrip(b"\n"))
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputFileError(f"{path} cannot be read: {error.strerror}; choose another folder with --output") from error

    def _keep(self, line: bytes) -> None:
        answer = line[_ANSWER_AT:-1]
        if line != _as_line(answer):
            return
        try:
            record = json.loads(answer)
            if record.pop("format") != FORMAT:
                return
            key, outcome = str(record.pop("key")), Outcome.from_json(record)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        self._outcomes[key, outcome.query] = outcome

    def get(self, key: str, query: str) -> Outcome | None:
        """
        Return an outcome, if it is known and has not failed.

        :param key: Key of the answer (see `AnswerKeys`).
        :param query: Id of the query.
        """
        outcome = self._outcomes.get((key, query))
        return None if outcome is None or outcome.has_failed else outcome

    def latest(self, key: str, query: str) -> Outcome:
        """Return a known outcome, failed ones included."""
        return self._outcomes[key, query]

    def add(self, key: str, outcome: Outcome) -> None:
        """
        Add an outcome.

        :param key: See `get`.
        :param outcome: The outcome.
        :raises InputFileError: If the file cannot be written.
        """
        self._outcomes[key, outcome.query] = outcome
        if self._path is None:
            return
        answer = json.dumps({"format": FORMAT, "key": key, **outcome.as_json()}).encode("ascii")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _append_line(self._path, _as_line(answer))
        except OSError as error:
            raise InputFileError(
                f"{self._path} cannot be written: {error.strerror}; free space or choose another folder with --output"
            ) from error


def _as_line(answer: bytes) -> bytes:
    return b"%s%08x%s%s}" % (_BEFORE_CHECK, zlib.crc32(answer), _AFTER_CHECK, answer)


def _append_line(path: Path, line: bytes) -> None:
    """Append a line in one write; it starts on a new line even if a kill has cut the previous one."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        is_cut = False
        if os.fstat(descriptor).st_size > 0:
            os.lseek(descriptor, -1, os.SEEK_END)
            is_cut = os.read(descriptor, 1) != b"\n"
        rest = memoryview(b"\n" * is_cut + line + b"\n")
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)
