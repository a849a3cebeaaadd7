"""The training pairs of a request: read from its files, or mined from its judged collections."""

import re
from collections.abc import Mapping
from pathlib import Path

from rerank_plugin.errors import InputFileError
from rerank_plugin.evaluation.collection import is_collection, open_collection
from rerank_plugin.progress import ProgressCallback, counts_of
from rerank_plugin.training.data.pairs import LabelledPair, read_pairs
from rerank_plugin.training.mining.first_stage import FirstStageSpec
from rerank_plugin.training.mining.mine import MiningJob, mine
from rerank_plugin.training.recipe.request import Measured, TrainingRequest

FOLDER = "mined"
HELD_OUT_SPLITS = ("dev", "test", "validation")


def read_files(request: TrainingRequest) -> dict[Path, list[LabelledPair]]:
    """
    Read the pairs of the files, which is quick; those of collections are mined later, by `gather`.

    :param request: The run.
    :returns: The pairs of each file.
    :raises InputFileError: If a file or a collection is missing, or a file is malformed or empty.
    """
    for path in request.data:
        if not path.exists():
            raise InputFileError(f"{path} does not exist: check the path")
    return {path: _read(path) for path in request.data if not is_collection(path)}


def gather(
    request: TrainingRequest,
    on_progress: ProgressCallback | None,
    *,
    files: Mapping[Path, list[LabelledPair]] | None = None,
) -> list[LabelledPair]:
    """
    Read the pairs of all files, and mine those of the collections.

    :param request: The run. Mined pairs are kept in the subfolder `mined` of its output, in a file for each collection and
        its settings: they are mined once, and again if collection, pipeline, models or rules have changed.
    :param on_progress: Called while mining.
    :param files: The pairs of the files, from `read_files`; `None`: they are read here.
    :returns: The pairs, file by file.
    :raises InputFileError: If a file is missing, malformed or empty.
    :raises PipelineConfigError: If the first stage cannot be loaded.
    """
    known = read_files(request) if files is None else files
    pairs: list[LabelledPair] = []
    for path in request.data:
        pairs += known[path] if path in known else _read(_mined(path, request, on_progress))
    return pairs


def _read(file: Path) -> list[LabelledPair]:
    pairs = read_pairs(file)
    if not pairs:
        raise InputFileError(f"{file} has no pairs: check that it is the right file")
    return pairs


def held_out_queries(request: TrainingRequest) -> dict[str, str]:
    """
    Collect the queries that must not be trained on: those to measure on, and those of the other splits of the training
    collections.

    :param request: The run.
    :returns: Collection and split by query text.
    """
    measured = [*([request.dev] if request.dev else []), *request.test]
    for path in request.data:
        if is_collection(path):
            trained = open_collection(path, split=request.split)
            splits = {*trained.dataset.splits()} - {trained.split}
            measured += [Measured(str(path), split) for split in HELD_OUT_SPLITS if split in splits]
    held_out: dict[str, str] = {}
    for evaluated in measured:
        collection = open_collection(evaluated.folder, split=evaluated.split)
        queries = collection.dataset.queries(collection.split)
        held_out |= {query.text: f"{collection.name}, {collection.split}" for query in queries.values()}
    return held_out


def _mined(path: Path, request: TrainingRequest, on_progress: ProgressCallback | None) -> Path:
    collection = open_collection(path, split=request.split)
    stage = FirstStageSpec(request.first_stage, language=request.language)
    job = MiningJob(collection, request.output, request.rules, stage.key(), limit=request.limit)
    name = re.sub(r"[^\w.-]+", "-", collection.name)
    job = job.into(request.output / FOLDER / f"{name}-{request.split}-{job.key()[:12]}.jsonl")
    mine(job, lambda: stage.open(collection, on_progress), on_progress=counts_of(on_progress, f"Mining {collection.name}"))
    return job.output
