"""The request of a training run: data, recipe, and collections to evaluate on."""

from dataclasses import dataclass, field
from pathlib import Path

from rerank_plugin.checks import check_count
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.training.mining.rules import MiningRules
from rerank_plugin.training.recipe.config import TrainingConfig


@dataclass(frozen=True)
class Measured:
    """
    A collection to evaluate on.

    :param folder: A folder in BEIR layout, or `irds:ID`.
    :param split: Split of the judgements.
    :param queries: Maximum number of queries; `None`: all.
    """

    folder: str
    split: str
    queries: int | None = None

    @classmethod
    def parse(cls, text: str, *, split: str, queries: int | None = None) -> "Measured":
        """
        Read `FOLDER` or `FOLDER:SPLIT`.

        :param text: Argument of the command line.
        :param split: The split if the text names none.
        :param queries: Maximum number of queries.
        """
        if text.startswith("irds:"):
            return cls(text, split, queries)
        folder, colon, name = text.rpartition(":")
        return cls(folder, name, queries) if colon and name and "/" not in name else cls(text, split, queries)


@dataclass(frozen=True)
class TrainingRequest:
    """
    A training run.

    :param data: Files of labelled pairs or triples, folders saved by datasets, and folders in BEIR layout.
    :param output: Folder for the model.
    :param config: The hyperparameters.
    :param preset: Name of the recipe, for the card; `None`: none.
    :param split: Split of the judgements in BEIR folders.
    :param language: Language of BM25's stemmer, such as `en` or `ru`.
    :param first_stage: Pipeline that retrieves negatives, and the candidates of the collections to evaluate on.
    :param rules: How negatives are mined from BEIR folders.
    :param limit: Maximum number of queries of each BEIR folder; `None`: all.
    :param drop: Leave out pairs with problems instead of stopping.
    :param repair: Repair mojibake in the texts.
    :param teacher: A cross-encoder, or a file of scores; see `data.teacher.add_teacher_scores`.
    :param dev: Evaluated during training and at the end; `None`: no dev collection.
    :param dev_candidates: Candidates per query during training.
    :param test: Collections evaluated at the end.
    :param candidates: Candidates per query at the end.
    :param licence: Licence of the training data, for the card.
    :param stop_after: See `fitting.train.train`.
    :param dry_run: Check the data and stop.
    :raises InvalidValueError: If a number is below 1, or `eval_steps` is set without a dev collection.
    """

    data: tuple[Path, ...]
    output: Path
    config: TrainingConfig = field(default_factory=TrainingConfig)
    preset: str | None = None
    split: str = "train"
    language: str = "en"
    first_stage: str = "bm25"
    rules: MiningRules = field(default_factory=MiningRules)
    limit: int | None = None
    drop: bool = False
    repair: bool = False
    teacher: str | None = None
    dev: Measured | None = None
    dev_candidates: int = 30
    test: tuple[Measured, ...] = ()
    candidates: int = 100
    licence: str | None = None
    stop_after: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name in ("limit", "stop_after", "dev_candidates", "candidates"):
            value = getattr(self, name)
            if value is not None:
                check_count(name, value)
        if self.config.eval_steps is not None and self.dev is None:
            raise InvalidValueError("eval_steps needs a dev collection to measure on: give --dev, or --eval-steps 0")
