"""The progress of mining: a journal while it runs, and one JSON object with the counts when it is finished."""

import json
from pathlib import Path
from typing import Any

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.files import replace_file
from rerank_plugin.training.mining.draw import MiningCounts


class MiningState:
    """
    The state of one mined file, in two files beside it.

    `OUTPUT.state.json` has the settings from the start, and at the end also the counts and queries.
    `OUTPUT.journal` has a line per finished query: its id, the length of the output at that point, and the counts so far.

    :param output: The mined file.
    :param settings: Everything that its content depends on.
    """

    def __init__(self, output: Path, settings: dict[str, Any]) -> None:
        self._output = output
        self._settings = settings
        self._file = output.with_name(f"{output.name}.state.json")
        self._journal = output.with_name(f"{output.name}.journal")

    def resume(self) -> tuple[MiningCounts, set[str]]:
        """
        Return the counts so far and the finished queries; output after the last of them is cut off.

        :raises InvalidValueError: If the output was not mined, or was mined with other settings, or its state cannot be
            read.
        """
        if not self._file.exists():
            if self._output.exists():
                raise InvalidValueError(f"{self._output} exists, but was not mined: choose another name, or delete it")
            self._journal.unlink(missing_ok=True)
            self._write({"settings": self._settings})
        state = self._checked()
        written = self._output.stat().st_size if self._output.exists() else 0
        if state.get("size", 0) > written:
            state = {}  # the finished output was deleted or cut afterwards
        done, size, counts = set(state.get("queries", ())), state.get("size", 0), state.get("counts", {})
        for query, size, counts in self._read_journal(written):  # noqa: B007 - the last entry counts
            done.add(query)
        if self._output.exists():
            with self._output.open("r+b") as file:
                file.truncate(size)
        return MiningCounts.from_dict(counts), done

    def record(self, query: str, size: int, counts: MiningCounts) -> None:
        """
        Record a finished query.

        :param query: Its id.
        :param size: Length of the output, in bytes.
        :param counts: The counts so far.
        """
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps([query, size, counts.as_dict()], ensure_ascii=False) + "\n")

    def finish(self, counts: MiningCounts) -> None:
        """Move the content of the journal into the state file."""
        if not self._journal.exists():
            return
        _, done = self.resume()
        size = self._output.stat().st_size
        self._write({"settings": self._settings, "counts": counts.as_dict(), "size": size, "queries": sorted(done)})
        self._journal.unlink()

    def _write(self, state: dict[str, Any]) -> None:
        with replace_file(self._file) as file:
            json.dump(state, file, indent=1, ensure_ascii=False)

    def _checked(self) -> dict[str, Any]:
        """Read the state; refuse one with other settings."""
        try:
            state: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            before = dict(state["settings"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InvalidValueError(f"{self._file} is damaged: delete it and {self._output.name} to mine again") from error
        names = [*self._settings, *(name for name in before if name not in self._settings)]
        if changed := [name for name in names if before.get(name) != self._settings.get(name)]:
            raise InvalidValueError(
                f"{self._output} was mined with other settings (see {self._file.name}): {', '.join(changed)} changed; "
                "choose another name, or delete both"
            )
        return state

    def _read_journal(self, written: int) -> list[Any]:
        """Read the journal, truncating it at the first line that is cut off or exceeds the length of the output."""
        if not self._journal.exists():
            return []
        entries, end = [], 0
        with self._journal.open("r+b") as file:
            for line in file:
                entry = _entry(line)
                if entry is None or entry[1] > written:
                    break
                entries.append(entry)
                end += len(line)
            file.truncate(end)
        return entries


def _entry(line: bytes) -> Any:
    """Parse a line of the journal; `None` for an incomplete one."""
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None
