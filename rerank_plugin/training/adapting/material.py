"""The queries of a run: which ones train, which ones are held out, and the judged ones."""

import random
from dataclasses import dataclass, replace
from pathlib import Path

from rerank_plugin.collections.lines import read_lines
from rerank_plugin.collections.runs import document_key
from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.evaluation.collection import ALL, Collection, open_collection
from rerank_plugin.judgements.dataset import SPLITS, IndexDataset, is_index
from rerank_plugin.progress import ProgressCallback, counts_of
from rerank_plugin.training.adapting.corpus import Corpus
from rerank_plugin.training.adapting.language_model import written_queries
from rerank_plugin.training.adapting.lists import DEPTH, FIRST_STAGE, MEASURED_DEPTH
from rerank_plugin.training.adapting.pseudo_queries import ASKED, JUDGED, LOGGED, NATURAL, PseudoQuery, generate
from rerank_plugin.training.adapting.request import AdaptRequest
from rerank_plugin.training.adapting.taught import RunFolder
from rerank_plugin.training.fitting.dev import DevCollection
from rerank_plugin.training.recipe.request import Measured

HELD_OUT_SHARE = 0.2
# Fewer judged queries of an index teach and prove too little to be used without being asked for.
FEWEST_JUDGED = 10


@dataclass(frozen=True)
class Queries:
    """
    The queries of a run.

    :param training: To train with, in random order, but for judged ones, which come first.
    :param held_out: From other passages, to measure with; those that people wrote first.
    """

    training: list[PseudoQuery]
    held_out: list[PseudoQuery]


def make_queries(corpus: Corpus, request: AdaptRequest, folder: RunFolder, on_progress: ProgressCallback | None) -> Queries:
    """
    Make the queries of a run.

    Passages are held out, not queries: the model must not have seen the answers of the queries that it is measured with.

    :param corpus: The corpus.
    :param request: The run.
    :param folder: Keeps what a language model wrote.
    :param on_progress: Called while a language model writes.
    :raises InvalidValueError: If nothing can be made of the passages.
    """
    rng = random.Random(request.seed)  # noqa: S311 - reproducible sampling, not secrets
    passages = rng.sample(corpus.passages, len(corpus.passages))
    queries = list(generate(passages, seed=request.seed))
    if request.language_model is not None:
        progress = counts_of(on_progress, "Asking the language model")
        queries += written_queries(passages, request.language_model, folder.questions, on_progress=progress)
    held = {passage.id for passage in passages[: max(1, round(len(passages) * HELD_OUT_SHARE))]}
    training = [query for query in queries if query.source not in held]
    held_out = [query for query in queries if query.source in held and not query.is_passage]
    measured = measured_texts(request)
    if request.queries is not None:
        training += logged_queries(request.queries, measured)
    if not training or not held_out:
        raise InvalidValueError(
            f"{len(corpus.passages)} passages make {len(queries)} queries, which is too few: the texts need "
            "headings or whole sentences"
        )
    rng.shuffle(training)
    if request.learned is not None:
        training = learned_queries(corpus, request.learned, measured, on_progress) + training
    held_out.sort(key=lambda query: (query.kind not in ASKED, query.kind not in NATURAL))
    return Queries(training, held_out)


def with_judgements(request: AdaptRequest, index: Path | None) -> AdaptRequest:
    """
    Return a request that learns from the judgements of its index, and is measured by them.

    Not if it names judged queries itself, or the index has too few: a split needs `FEWEST_JUDGED` with a relevant passage.

    :param request: The request.
    :param index: The index; `None`: there is none.
    """
    if index is None or not is_index(index) or request.learned is not None or request.judged is not None:
        return request
    dataset = IndexDataset(index)
    with_relevant = {
        split: sum(any(grade > 0 for grade in grades.values()) for grades in dataset.qrels(split).values())
        for split in dataset.splits()
    }
    learned, judged = (
        Measured(str(index), split) if with_relevant.get(split, 0) >= FEWEST_JUDGED else None for split in SPLITS
    )
    return replace(request, learned=learned, judged=judged)


def measured_texts(request: AdaptRequest) -> set[str]:
    """
    Return the texts, without case, of the judged queries that the run is measured with: nothing may be learned from them.

    :param request: The run.
    """
    if request.judged is None:
        return set()
    return {query.text.casefold() for query in _collection(request.judged).judged(lang=ALL)[0].values()}


def learned_queries(
    corpus: Corpus, learned: Measured, measured: set[str], on_progress: ProgressCallback | None
) -> list[PseudoQuery]:
    """
    Return judged queries with their best relevant passage among the candidates; without one there is nothing to rank.

    :param corpus: The corpus.
    :param learned: The judged queries.
    :param measured: What `measured_texts` returns; these queries are left out.
    :param on_progress: Called while searching.
    :raises InvalidValueError: If none of their relevant documents is found, or all of them are measured with.
    """
    collection = _collection(learned)
    judged, qrels = collection.judged(lang=ALL)
    known = {id_: query for id_, query in judged.items() if query.text.casefold() not in measured}
    if judged and not known:
        raise InvalidValueError(
            f"all {len(judged)} queries of {collection.name}, {collection.split} are also those that the result is measured "
            "with, so none is left to learn from: name another split to learn from, or to measure with"
        )
    progress = counts_of(on_progress, "Searching for the judged queries to learn from")
    queries = []
    for number, query in enumerate(known.values(), start=1):
        grades = {id_: grade for id_, grade in qrels[query.id].items() if grade > 0}
        found = [document for document in corpus.candidates(query.text, DEPTH) if document_key(document) in grades]
        if found:
            best = max(found, key=lambda document: grades[document_key(document)])
            queries.append(PseudoQuery(query.text, JUDGED, best.id))
        progress(number, len(known))
    if not queries:
        raise _not_of_this_corpus(collection, len(known))
    return queries


def logged_queries(file: Path, measured: set[str]) -> list[PseudoQuery]:
    """
    Read the queries of a log.

    :param file: The file, with one query a line.
    :param measured: What `measured_texts` returns; these queries are left out.
    :raises InputFileError: If the file cannot be read, or has no other queries.
    """
    lines = (line.strip() for _, line in read_lines(file))
    texts = dict.fromkeys(line for line in lines if line and line.casefold() not in measured)
    if not texts:
        raise InputFileError(f"{file} has no queries: it must have one a line, others than those it is measured with")
    return [PseudoQuery(text, LOGGED) for text in texts]


def judged_candidates(corpus: Corpus, measured: Measured, most: int, on_progress: ProgressCallback | None) -> DevCollection:
    """
    Retrieve the candidates of judged queries with the corpus's own pipeline.

    :param corpus: The corpus.
    :param measured: The judged queries.
    :param most: Maximum number of queries, unless `measured` has one.
    :param on_progress: Called while searching.
    :raises InvalidValueError: If none of their relevant documents is found.
    """
    collection = _collection(measured)
    known, qrels = collection.judged(lang=ALL)
    chosen = [query for id_, query in known.items() if any(grade > 0 for grade in qrels[id_].values())]
    chosen = chosen[: most if measured.queries is None else measured.queries]
    dev = DevCollection(f"{collection.name}, {collection.split}", FIRST_STAGE, {}, {}, {}, {})
    progress = counts_of(on_progress, "Searching for the judged queries")
    for number, query in enumerate(chosen, start=1):
        candidates: dict[str, float] = {}
        for document in corpus.candidates(query.text, MEASURED_DEPTH):
            key = document_key(document)
            candidates.setdefault(key, float(document.score or 0.0))
            dev.texts.setdefault(key, corpus.text(document))
        dev.queries[query.id], dev.candidates[query.id], dev.qrels[query.id] = query.text, candidates, qrels[query.id]
        progress(number, len(chosen))
    if not any(dev.qrels[id_].get(document, 0) > 0 for id_, found in dev.candidates.items() for document in found):
        raise _not_of_this_corpus(collection, len(chosen))
    return dev


def _not_of_this_corpus(collection: Collection, queries: int) -> InvalidValueError:
    return InvalidValueError(
        f"none of the candidates of {queries} queries of {collection.name}, {collection.split} is judged relevant: check "
        "that the judgements belong to this corpus"
    )


def _collection(measured: Measured) -> Collection:
    return open_collection(measured.folder, split=measured.split)
