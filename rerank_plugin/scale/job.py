"""The state of a job: which blocks are done, kept beside the output, so that a killed job goes on where it was."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rerank_plugin.errors import InvalidValueError, OutputError
from rerank_plugin.files import replace_file
from rerank_plugin.scale.blocks import PARQUET, Block, Row

FORMAT = 1


class JobFolder:
    """
    The folder `OUTPUT.parts` of a job: a file for each block that is done, and `job.json`.

    :param output: The output of the job.
    :param settings: Everything that the output depends on.
    :raises InvalidValueError: If the folder is that of a job with other settings, or there is an output of unknown origin.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        self.output = output
        self.folder = output.with_name(f"{output.name}.parts")
        self._state_file = self.folder / "job.json"
        wanted = json.loads(json.dumps({"format": FORMAT, **settings}, default=str))
        known = self._state()
        if known is None:
            if output.exists():
                raise InvalidValueError(
                    f"{output} exists, and no job of this kind wrote it: choose another file, or delete it"
                )
            self._write_state(wanted)
        elif {name: value for name, value in known.items() if name != "done"} != wanted:
            changed = sorted(name for name in {*known, *wanted} - {"done"} if known.get(name) != wanted.get(name))
            raise InvalidValueError(
                f"{self.folder} belongs to a job with other settings ({', '.join(changed)}): repeat the command with those, "
                "choose another output, or delete the folder"
            )
        self._settings = wanted

    @property
    def is_done(self) -> bool:
        """Whether the output is complete."""
        return bool((self._state() or {}).get("done")) and self.output.exists()

    def part(self, block: Block, suffix: str = ".jsonl") -> Path:
        """Return the file of a block."""
        return part_of(self.folder, block, suffix)

    def missing(self, blocks: Sequence[Block], suffix: str = ".jsonl") -> list[Block]:
        """Return the blocks that are not done."""
        return [block for block in blocks if not self.part(block, suffix).exists()]

    def finish(self) -> None:
        """Note that the output is complete, and delete the parts."""
        self._write_state({**self._settings, "done": True})
        for part in self.folder.iterdir():
            if part != self._state_file:
                part.unlink()

    def _state(self) -> dict[str, Any] | None:
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{self._state_file} cannot be read: delete {self.folder} to begin anew") from error
        return state

    def _write_state(self, state: Mapping[str, Any]) -> None:
        with replace_file(self._state_file) as file:
            json.dump(state, file, indent=2)


def part_of(folder: Path, block: Block, suffix: str) -> Path:
    """Return the file in which the result of a block is kept."""
    return folder / f"{block.number:08d}{suffix}"


def write_rows(part: Path, rows: Sequence[Row]) -> None:
    """
    Write the result of a block, whole or not at all.

    :param part: Its file.
    :param rows: The rows.
    """
    with replace_file(part) as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def merge_rows(job: JobFolder, blocks: Sequence[Block]) -> None:
    """
    Write the output from the parts, in the order of the blocks.

    :param job: The job, all of whose blocks are done.
    :param blocks: The blocks.
    """
    parts = [job.part(block) for block in blocks]
    if job.output.suffix == PARQUET:
        from rerank_plugin.scale.parquet import write_parquet

        write_parquet(job.output, _rows(parts))
        return
    with replace_file(job.output, binary=True) as file:
        for part in parts:
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, file)


def _rows(parts: Sequence[Path]) -> Iterator[list[Row]]:
    for part in parts:
        # Of bytes, since the lines of a text end at separators of Unicode too, which a row may hold.
        yield [json.loads(line) for line in part.read_bytes().splitlines()]
