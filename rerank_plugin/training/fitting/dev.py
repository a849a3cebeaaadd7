"""Judged queries to measure on, while training (for early stopping and the best checkpoint) and at its end."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sentence_transformers.base.evaluation import BaseEvaluator

from rerank_plugin.collections.beir import Qrels
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.collection import ALL, Collection
from rerank_plugin.evaluation.comparison import Comparison, compare
from rerank_plugin.evaluation.measures import NDCG, evaluate
from rerank_plugin.training.mining.mine import Finder

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.model import BaseModel

METRIC = "dev_ndcg@10"
FIRST_STAGE, MODEL = "first stage", "model"
PAIRS_AT_ONCE = 32

Score = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class DevCollection:
    """
    Judged queries, and what a first stage found for them.

    :param name: Collection and split, as they are shown.
    :param first_stage: Name of the first stage, as it is shown.
    :param queries: Texts by id.
    :param found: For each query ids and scores, best first.
    :param texts: Texts of the passages by id.
    :param qrels: The judgements.
    """

    name: str
    first_stage: str
    queries: dict[str, str]
    found: dict[str, dict[str, float]]
    texts: dict[str, str]
    qrels: Qrels

    def evaluator(self, *, precision: str = "fp32") -> "NdcgEvaluator":
        """
        Return what the trainer calls.

        :param precision: `fp32` or `bf16`, as in training.
        """
        return NdcgEvaluator(self, precision)

    def measure(self, score: Score, *, measures: Sequence[str], progress: Callable[[int, int], None]) -> Comparison:
        """
        Rerank all candidates, and compare that with the first stage.

        :param score: Scores passages for a query.
        :param measures: Names as ir-measures writes them.
        :param progress: Called with queries done and queries in all.
        :returns: Measures of `first stage` and `model`, and their difference.
        """
        reranked = {}
        for number, (id_, query) in enumerate(self.queries.items(), start=1):
            ids = list(self.found[id_])
            scores = score(query, [self.texts[passage] for passage in ids]) if ids else []
            reranked[id_] = dict(zip(ids, map(float, scores), strict=True))
            progress(number, len(self.queries))
        return compare({FIRST_STAGE: self.found, MODEL: reranked}, self.qrels, measures)


def find_candidates(
    collection: Collection,
    first_stage: Finder,
    *,
    name: str,
    depth: int,
    limit: int | None = None,
    progress: Callable[[int, int], None],
) -> DevCollection:
    """
    Search for the judged queries of a collection.

    :param collection: The collection.
    :param first_stage: What searches.
    :param name: How the first stage is shown.
    :param depth: Candidates of a query.
    :param limit: Most queries, in file order; `None`: all.
    :param progress: Called with queries done and queries in all.
    :returns: Queries that have a relevant document, with their candidates.
    :raises InvalidValueError: If there are none.
    """
    queries, qrels = collection.judged(lang=ALL)
    judged = [query for id_, query in queries.items() if any(grade > 0 for grade in qrels[id_].values())][:limit]
    if not judged:
        raise InvalidValueError(f"{collection.name}: no query of split {collection.split!r} has a relevant document")
    found = {}
    for number, query in enumerate(judged, start=1):
        found[query.id] = dict(first_stage.find(query, depth))
        progress(number, len(judged))
    needed = {id_ for scores in found.values() for id_ in scores}
    texts = {document.id: document.full_text for document in collection.dataset.documents() if document.id in needed}
    return DevCollection(
        name=f"{collection.name}, {collection.split}",
        first_stage=name,
        queries={query.id: query.text for query in judged},
        found={query: {id_: score for id_, score in scores.items() if id_ in texts} for query, scores in found.items()},
        texts=texts,
        qrels={query.id: qrels[query.id] for query in judged},
    )


class NdcgEvaluator(BaseEvaluator):
    """
    nDCG@10 of the candidates as the model ranks them.

    :param dev: Queries, candidates and judgements.
    :param precision: `fp32` or `bf16`.
    """

    def __init__(self, dev: DevCollection, precision: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._dev, self._precision = dev, precision
        self.primary_metric = METRIC

    def __call__(
        self,
        model: "BaseModel",
        output_path: str | None = None,  # noqa: ARG002 - the trainer logs the result, with epoch and step
        epoch: float = -1,  # noqa: ARG002
        steps: int = -1,  # noqa: ARG002
    ) -> dict[str, float]:
        """
        Measure.

        :param model: The model as it is now.
        :param output_path: Unused: the trainer logs the result.
        :param epoch: Unused.
        :param steps: Unused.
        :returns: `dev_ndcg@10`.
        """
        import torch

        pairs = [(query, passage) for query, passages in self._dev.found.items() for passage in passages]
        texts = [(self._dev.queries[query], self._dev.texts[passage]) for query, passage in pairs]
        half = self._precision == "bf16"
        with torch.autocast(model.device.type, torch.bfloat16) if half else nullcontext():
            scores = cast("CrossEncoder", model).predict(
                texts,
                batch_size=PAIRS_AT_ONCE,
                activation_fn=torch.nn.Identity(),
                show_progress_bar=False,
                convert_to_tensor=True,
            )
        run: dict[str, dict[str, float]] = {query: {} for query in self._dev.found}
        for (query, passage), score in zip(pairs, scores.float().tolist(), strict=True):
            run[query][passage] = score
        return {METRIC: evaluate(run, self._dev.qrels, [NDCG]).means[NDCG]}


def measurements(log: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Return step and nDCG@10 of each measurement in a training log."""
    return [(entry["step"], entry[f"eval_{METRIC}"]) for entry in log if f"eval_{METRIC}" in entry]
