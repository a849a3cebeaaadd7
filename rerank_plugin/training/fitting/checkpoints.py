"""The checkpoints of a run: which run they belong to, whether they are complete, and which one to resume from."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.files import replace_file
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.recipe.config import TrainingConfig

logger = logging.getLogger(__name__)

RUN = "run.json"
# Fields of the recipe that may change when a run is resumed: how often it logs and saves, and what follows its end.
CHANGEABLE = ("logging_steps", "save_steps", "report_to", "patience", "early_exit_layers", "early_exit_width")
PREFIX = "checkpoint-"
SEAL = "sealed.json"
STATE = "trainer_state.json"


def check_same_run(
    folder: Path, pairs: Sequence[LabelledPair], config: TrainingConfig, *, fingerprints: Mapping[str, str]
) -> None:
    """
    Check that the checkpoints in a folder belong to this run; record the run if there are none yet.

    :param folder: Folder of the checkpoints.
    :param pairs: The training pairs.
    :param config: The hyperparameters.
    :param fingerprints: Fingerprints of the other inputs (base model, dev collection), by the name shown in errors.
    :raises InvalidValueError: If they belong to a run with another recipe or other data.
    """
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(repr((pair.query, pair.passage, pair.label, pair.teacher_score)).encode())
    run = {name: value for name, value in config.as_dict().items() if name not in CHANGEABLE}
    run |= {"data": digest.hexdigest()[:16], **fingerprints}
    file = folder / RUN
    if not file.exists():
        with replace_file(file) as out:
            json.dump(run, out, indent=1)
        return
    before = _read_json(file)
    if before is None:
        raise InvalidValueError(f"{file} is damaged: delete {folder} to start again, or choose another output")
    if changed := [name for name in run if before.get(name) != run[name]]:
        raise InvalidValueError(
            f"{folder} has checkpoints of another run: {', '.join(changed)} changed; choose another output, or delete "
            "the folder to start again"
        )


def seal(checkpoint: Path) -> None:
    """
    Mark a checkpoint as complete, with a hash of each of its files.

    :param checkpoint: Its folder, completely written.
    """
    hashes = {file.name: _hash(file) for file in sorted(checkpoint.iterdir()) if file.is_file() and file.name != SEAL}
    with replace_file(checkpoint / SEAL) as out:
        json.dump(hashes, out, indent=1)


def last_checkpoint(folder: Path) -> Path | None:
    """
    Find the last complete checkpoint whose best checkpoint is complete too, and remove the unusable ones.

    :param folder: Folder of the checkpoints.
    :returns: The checkpoint's folder; `None` if there is none.
    """
    numbered = {
        int(path.name.removeprefix(PREFIX)): path
        for path in folder.glob(f"{PREFIX}*")
        if path.name.removeprefix(PREFIX).isdecimal()
    }
    whole = {step: path for step, path in numbered.items() if _is_whole(path)}
    usable = {step: path for step, path in whole.items() if _best(path) is None or _best(path) in whole.values()}
    last = usable[max(usable)] if usable else None
    for step, path in sorted(numbered.items()):
        if step not in usable:
            logger.warning(
                "Removed %s, which is damaged or was not written to its end; training goes on from %s",
                path,
                last.name if last else "the beginning",
            )
            shutil.rmtree(path, ignore_errors=True)
    if last is not None:
        _point_to_best(last)
    return last


def measurements_since_best(checkpoint: Path, metric: str) -> int:
    """
    Count the measurements since the best one, so that patience carries over when a run is resumed.

    :param checkpoint: The checkpoint to resume from.
    :param metric: Name of the measure in the trainer's log; higher is better.
    """
    log = (_read_json(checkpoint / STATE) or {}).get("log_history", [])
    values = [entry[metric] for entry in log if metric in entry]
    return len(values) - 1 - values.index(max(values)) if values else 0


def _is_whole(checkpoint: Path) -> bool:
    hashes = _read_json(checkpoint / SEAL)
    if not hashes or STATE not in hashes:
        return False
    try:
        return all(_hash(checkpoint / name) == expected for name, expected in hashes.items())
    except OSError:
        return False


def _best(checkpoint: Path) -> Path | None:
    """Return the best checkpoint that a checkpoint refers to; it is beside it, even if the run's folder was moved."""
    best = (_read_json(checkpoint / STATE) or {}).get("best_model_checkpoint")
    return checkpoint.parent / Path(best).name if best else None


def _point_to_best(checkpoint: Path) -> None:
    """Correct the path of the best checkpoint after the run's folder was moved, or the trainer would ignore it."""
    best = _best(checkpoint)
    state = _read_json(checkpoint / STATE) or {}
    if best is None or state["best_model_checkpoint"] == str(best):
        return
    with replace_file(checkpoint / STATE) as out:
        json.dump({**state, "best_model_checkpoint": str(best)}, out, indent=2)
    seal(checkpoint)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
