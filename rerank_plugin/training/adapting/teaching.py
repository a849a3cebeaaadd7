"""From queries to training data: lists with targets, as many as fit the time."""

import logging
import time
from collections.abc import Sequence
from math import ceil

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.progress import ProgressCallback, counts_of
from rerank_plugin.training.adapting.corpus import Corpus
from rerank_plugin.training.adapting.general import general_lists, open_sample_corpus
from rerank_plugin.training.adapting.lists import LIST_SIZE, MEASURED_DEPTH, AskedList, make_list
from rerank_plugin.training.adapting.opinions import Ensemble, targets
from rerank_plugin.training.adapting.pseudo_queries import PseudoQuery
from rerank_plugin.training.adapting.request import AdaptRequest
from rerank_plugin.training.adapting.taught import Plan, RunFolder, TaughtList
from rerank_plugin.training.adapting.weights import fit_weights
from rerank_plugin.training.recipe.config import TrainingConfig

# Shares of the time.
ASKING, TRAINING, MEASURING = 0.35, 0.4, 0.25
# Fewer queries prove nothing, and more take time that is better spent on training.
LEAST_MEASURED, MOST_MEASURED = 30, 150
# A training step on a pair takes about so many times as long as scoring it: forward and backward, but of 256 tokens at most.
# Measured on four corpora (two cores with bf16 instructions): 1.5 to 2.5.
COST_OF_TRAINING = 2.5
MOST_EPOCHS = 3.0
GENERAL_SHARE = 0.25
LISTS_AT_ONCE = 8
FEW_LISTS = 100

logger = logging.getLogger(__name__)


def teach(
    corpus: Corpus,
    request: AdaptRequest,
    queries: Sequence[PseudoQuery],
    folder: RunFolder,
    ensemble: Ensemble,
    on_progress: ProgressCallback | None,
) -> tuple[list[TaughtList], Plan]:
    """
    Ask the ensemble about lists, until their time or the queries are used up; then decide how much is trained.

    :param corpus: The corpus.
    :param request: The run.
    :param queries: The queries to train with.
    :param folder: Keeps the lists; those of an interrupted run are not made again.
    :param ensemble: The models.
    :param on_progress: Called with the lists that are done and wanted, or the seconds.
    :returns: The lists to train on, and the plan.
    :raises InvalidValueError: If no list can be made.
    """
    asked, plan = folder.read(), folder.plan
    if plan is None:
        asked += _ask(corpus, request, queries, asked, folder, ensemble, on_progress)
        if not asked:
            raise InvalidValueError("no list can be made: the passages of the corpus are all alike")
        if not ensemble.pairs:  # all lists are from an interrupted run, and the speed of this machine is not known yet
            ensemble.start_logits(asked[0].row)
        plan = _plan(asked, request, ensemble)
        folder.save_plan(plan)
    return [TaughtList(one.row, targets(one, plan.weights)) for one in asked[: plan.lists]], plan


def _ask(
    corpus: Corpus,
    request: AdaptRequest,
    queries: Sequence[PseudoQuery],
    kept: Sequence[AskedList],
    folder: RunFolder,
    ensemble: Ensemble,
    on_progress: ProgressCallback | None,
) -> list[AskedList]:
    """Make lists and ask about them; `kept` ones are from an interrupted run."""
    known = {one.row.query for one in kept}
    waiting = [query for query in queries if query.text not in known]
    most = len(queries) if request.lists is None else min(len(queries), request.lists)
    by_time = request.lists is None
    progress = counts_of(on_progress, "Asking the ensemble, seconds" if by_time else "Asking the ensemble")
    sources = {passage.id: passage for passage in corpus.passages}
    asked: list[AskedList] = []
    began, limit = time.monotonic(), ASKING * 60 * request.minutes
    for start in range(0, len(waiting), LISTS_AT_ONCE):
        elapsed, missing = time.monotonic() - began, most - len(kept) - len(asked)
        if missing <= 0 or (by_time and elapsed > limit):
            break
        if by_time:
            progress(round(elapsed), round(limit))
        made = (make_list(corpus, query, sources, request.seed) for query in waiting[start : start + LISTS_AT_ONCE])
        lists = [ensemble.asked(row) for row in made if row is not None][:missing]
        folder.add(lists)
        asked += lists
        if not by_time:
            progress(len(kept) + len(asked), most)
    return asked


def _plan(asked: Sequence[AskedList], request: AdaptRequest, ensemble: Ensemble) -> Plan:
    """Weigh opinions; choose lists, epochs and measured queries so that training and measuring fit their share of time."""
    lists, weights = len(asked), fit_weights(asked, ensemble.prior)
    per_pair = ensemble.seconds / ensemble.pairs
    seconds, models = 60 * request.minutes, 2
    kinds = 2 if request.judged is None else 3
    measured = int(MEASURING * seconds / (per_pair * MEASURED_DEPTH * models * kinds))
    measured = max(LEAST_MEASURED, min(MOST_MEASURED, measured))
    if request.lists is not None:
        return Plan(lists, 1.0, measured, weights)
    affordable = TRAINING * seconds / (COST_OF_TRAINING * per_pair * LIST_SIZE * (1 + GENERAL_SHARE))
    if min(lists, affordable) < FEW_LISTS:
        logger.warning(
            "Only %d lists in %g minutes on this machine, and little is learned from so few: give more --minutes or texts",
            max(1, min(lists, int(affordable))),
            request.minutes,
        )
    epochs = max(1.0, min(MOST_EPOCHS, round(affordable / lists, 1)))
    return Plan(max(1, min(lists, int(affordable))), epochs, measured, weights)


def general_material(request: AdaptRequest, taught: Sequence[TaughtList], ensemble: Ensemble) -> list[TaughtList]:
    """
    Make general lists, with the scores of the start as targets.

    :param request: The run.
    :param taught: The lists about the corpus: there are a quarter as many general ones.
    :param ensemble: Knows the start.
    """
    corpus = open_sample_corpus(request.language)
    rows = general_lists(corpus, count=ceil(len(taught) * GENERAL_SHARE), seed=request.seed)
    trained = {one.row.query for one in taught}
    return [TaughtList(row, ensemble.start_logits(row)) for row in rows if row.query not in trained]


def training_config(model: str, plan: Plan, seed: int) -> TrainingConfig:
    """
    Return the hyperparameters: those of the preset `best`, for a short run.

    :param model: The model to start from.
    :param plan: How much is trained.
    :param seed: Seed of the order of the data.
    """
    return TrainingConfig(
        model=model,
        loss="listnet",
        list_size=LIST_SIZE,
        epochs=plan.epochs,
        batch_size=8,
        learning_rate=6e-5,
        warmup_ratio=0.1,
        weight_decay=0.01,
        max_length=256,
        seed=seed,
        precision="bf16",
        freeze_embeddings=True,
        dropout=0.0,
        group_by_length=True,
        logging_steps=20,
        save_steps=50,
    )
