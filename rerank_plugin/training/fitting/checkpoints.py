"""The checkpoint that an interrupted run goes on from."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.files import replace_file
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.recipe.config import TrainingConfig

RUN = "run.json"
# What may change when a run goes on: how often it is written down, and what is done after its end.
FREE = ("logging_steps", "save_steps", "report_to", "patience", "early_exit_layer")
PREFIX = "checkpoint-"
LAST_WRITTEN = "trainer_state.json"


def claim(folder: Path, pairs: Sequence[LabelledPair], config: TrainingConfig) -> None:
    """
    Note which run the checkpoints in a folder belong to.

    :param folder: Where the trainer keeps them.
    :param pairs: The training pairs.
    :param config: The hyperparameters.
    :raises InvalidValueError: If they belong to a run with another recipe or other data.
    """
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(repr((pair.query, pair.passage, pair.label, pair.teacher_score)).encode())
    run = {name: value for name, value in config.as_dict().items() if name not in FREE} | {"data": digest.hexdigest()[:16]}
    file = folder / RUN
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if changed := [name for name in run if before.get(name) != run[name]]:
            raise InvalidValueError(
                f"{folder} has checkpoints of another run: {', '.join(changed)} changed; choose another output, or delete "
                "the folder to start anew"
            )
        return
    with replace_file(file) as out:
        json.dump(run, out, indent=1)


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
