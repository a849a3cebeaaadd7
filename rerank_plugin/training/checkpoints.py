"""The checkpoint that an interrupted run goes on from."""

import json
import shutil
from pathlib import Path

PREFIX = "checkpoint-"
LAST_WRITTEN = "trainer_state.json"


def last_checkpoint(folder: Path) -> str | None:
    """
    Find the last checkpoint that is whole, and remove those that a kill left half written.

    :param folder: Where the trainer keeps them.
    :returns: The checkpoint's folder; `None` if there is none.
    """
    whole = {}
    for checkpoint in folder.glob(f"{PREFIX}*"):
        step = checkpoint.name.removeprefix(PREFIX)
        if step.isdecimal() and _is_whole(checkpoint):
            whole[int(step)] = str(checkpoint)
        elif step.isdecimal():
            shutil.rmtree(checkpoint, ignore_errors=True)
    return whole[max(whole)] if whole else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        return isinstance(json.loads((checkpoint / LAST_WRITTEN).read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False
