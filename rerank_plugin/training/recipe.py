"""What goes into a training run: where the pairs come from, and how they were made."""

from dataclasses import dataclass
from pathlib import Path

from rerank_plugin.beir import BeirDataset
from rerank_plugin.errors import InputFileError
from rerank_plugin.training.data import LabelledPair, read_pairs


@dataclass(frozen=True)
class TrainingData:
    """
    Where the pairs of a run come from.

    :param paths: Files of labelled pairs, and folders in BEIR layout.
    :param split: Which judgements of the folders.
    :param language: Language of BM25's stemmer, such as `en` or `ru`; see HybridDocumentStore.
    :param limit: Most queries from each folder; `None` takes all.
    :param seed: Seed of the draws.
    """

    paths: tuple[Path, ...]
    split: str = "train"
    language: str = "en"
    limit: int | None = None
    seed: int = 42


def gather_pairs(data: TrainingData) -> list[LabelledPair]:
    """
    Read or make the pairs of a run.

    :param data: Where they come from.
    :returns: The pairs, file after file.
    :raises InputFileError: If a path does not exist or its content is malformed.
    """
    pairs: list[LabelledPair] = []
    for path in data.paths:
        if not path.exists():
            raise InputFileError(f"{path} does not exist: check the path")
        pairs += _mined(path, data) if path.is_dir() else read_pairs(path)
    return pairs


def _mined(folder: Path, data: TrainingData) -> list[LabelledPair]:
    from rerank_plugin.training.negatives import NegativesConfig, pairs_with_bm25_negatives

    config = NegativesConfig(seed=data.seed, language=data.language)
    return pairs_with_bm25_negatives(BeirDataset(folder), config, split=data.split, limit=data.limit)
