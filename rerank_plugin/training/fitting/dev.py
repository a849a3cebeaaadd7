"""Judged queries with candidates, evaluated during training (early stopping, best checkpoint) and at the end."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sentence_transformers.base.evaluation import BaseEvaluator

from rerank_plugin.collections.trec import Qrels
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.collection import ALL, Collection, open_collection
from rerank_plugin.evaluation.comparison import Comparison, compare
from rerank_plugin.evaluation.measures import NDCG, evaluate
from rerank_plugin.evaluation.run_key import run_key
from rerank_plugin.progress import CountCallback, ProgressCallback, counts_of
from rerank_plugin.training.mining.first_stage import Finder, FirstStageSpec
from rerank_plugin.training.recipe.request import Measured, TrainingRequest

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.model import BaseModel

METRIC = "dev_ndcg@10"
FIRST_STAGE, MODEL = "first stage", "model"
EVALUATION_BATCH = 32

Score = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class DevCollection:
    """
    Judged queries, and the candidates of a first stage.

    :param name: Collection and split, for display.
    :param first_stage: Name of the first stage, for display.
    :param queries: Texts of the queries, by id.
    :param candidates: For each query the ids and scores of its candidates, best first.
    :param texts: Texts of the passages, by id.
    :param qrels: The judgements.
    """

    name: str
    first_stage: str
    queries: dict[str, str]
    candidates: dict[str, dict[str, float]]
    texts: dict[str, str]
    qrels: Qrels

    def evaluator(self, *, precision: str = "fp32") -> "NdcgEvaluator":
        """
        Return the evaluator for the trainer.

        :param precision: `fp32` or `bf16`, as in training.
        """
        return NdcgEvaluator(self, precision)

    def fingerprint(self) -> str:
        """Return a hash of first stage, queries, candidates, passages and judgements."""
        content = {name: getattr(self, name) for name in ("first_stage", "queries", "candidates", "texts", "qrels")}
        return run_key(settings=content, query=None, models=None, corpus=None)[:16]

    def measure(self, score: Score, *, measures: Sequence[str], on_progress: CountCallback) -> Comparison:
        """
        Rerank all candidates, and compare with the first stage.

        :param score: Scores passages for a query.
        :param measures: Names in the notation of ir-measures.
        :param on_progress: Called with queries done and total queries.
        :returns: Measures of `first stage` and `model`, and their difference.
        """
        reranked = {}
        for number, (id_, query) in enumerate(self.queries.items(), start=1):
            ids = list(self.candidates[id_])
            scores = score(query, [self.texts[passage] for passage in ids]) if ids else []
            reranked[id_] = dict(zip(ids, map(float, scores), strict=True))
            on_progress(number, len(self.queries))
        return compare({FIRST_STAGE: self.candidates, MODEL: reranked}, self.qrels, measures)


def find_candidates(
    collection: Collection,
    first_stage: Finder,
    *,
    name: str,
    depth: int,
    limit: int | None = None,
    on_progress: CountCallback,
) -> DevCollection:
    """
    Retrieve candidates for the judged queries of a collection.

    :param collection: The collection.
    :param first_stage: Searches the collection.
    :param name: Name of the first stage, for display.
    :param depth: Candidates per query.
    :param limit: Maximum number of queries, in file order; `None`: all.
    :param on_progress: Called with queries done and total queries.
    :returns: Queries with a relevant document, and their candidates.
    :raises InvalidValueError: If there are none.
    """
    queries, qrels = collection.judged(lang=ALL)
    judged = [query for id_, query in queries.items() if any(grade > 0 for grade in qrels[id_].values())][:limit]
    if not judged:
        raise InvalidValueError(f"{collection.name}: no query of split {collection.split!r} has a relevant document")
    ranked = {}
    for number, query in enumerate(judged, start=1):
        ranked[query.id] = dict(first_stage.find(query, depth))
        on_progress(number, len(judged))
    needed = {id_ for scores in ranked.values() for id_ in scores}
    texts = {document.id: document.full_text for document in collection.dataset.documents() if document.id in needed}
    return DevCollection(
        name=f"{collection.name}, {collection.split}",
        first_stage=name,
        queries={query.id: query.text for query in judged},
        candidates={
            query: {id_: score for id_, score in scores.items() if id_ in texts} for query, scores in ranked.items()
        },
        texts=texts,
        qrels={query.id: qrels[query.id] for query in judged},
    )


def candidates_of(
    measured: Measured, request: TrainingRequest, *, depth: int, on_progress: ProgressCallback | None
) -> DevCollection:
    """
    Retrieve candidates with the first stage of a request.

    :param measured: The collection.
    :param request: The run.
    :param depth: Candidates per query.
    :param on_progress: Called while indexing and searching.
    :returns: Its judged queries, with their candidates.
    :raises InvalidValueError: If it has no query with a relevant document.
    """
    collection = open_collection(measured.folder, split=measured.split)
    stage = FirstStageSpec(request.first_stage, language=request.language)
    return find_candidates(
        collection,
        stage.open(collection, on_progress),
        name=request.first_stage,
        depth=depth,
        limit=measured.queries,
        on_progress=counts_of(on_progress, f"Searching {collection.name}"),
    )


class NdcgEvaluator(BaseEvaluator):
    """
    Computes nDCG@10 of the candidates ranked by the model.

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
        Evaluate the model.

        :param model: The model in its current state.
        :param output_path: Unused: the trainer logs the result.
        :param epoch: Unused.
        :param steps: Unused.
        :returns: `dev_ndcg@10`.
        """
        import torch

        pairs = [(query, passage) for query, passages in self._dev.candidates.items() for passage in passages]
        texts = [(self._dev.queries[query], self._dev.texts[passage]) for query, passage in pairs]
        half = self._precision == "bf16"
        with torch.autocast(model.device.type, torch.bfloat16) if half else nullcontext():
            scores = cast("CrossEncoder", model).predict(
                texts,
                batch_size=EVALUATION_BATCH,
                activation_fn=torch.nn.Identity(),
                show_progress_bar=False,
                convert_to_tensor=True,
            )
        run: dict[str, dict[str, float]] = {query: {} for query in self._dev.candidates}
        for (query, passage), score in zip(pairs, scores.float().tolist(), strict=True):
            run[query][passage] = score
        return {METRIC: evaluate(run, self._dev.qrels, [NDCG]).means[NDCG]}


def measurements(log: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Return step and nDCG@10 of each measurement in a training log."""
    return [(entry["step"], entry[f"eval_{METRIC}"]) for entry in log if f"eval_{METRIC}" in entry]
