"""Run pipelines over judged queries: shared stages run once, and every answer is kept."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_plugin import __version__
from rerank_plugin.errors import PipelineConfigError, reason_of
from rerank_plugin.evaluation.candidates import scored_candidates
from rerank_plugin.evaluation.outcome_file import OutcomeFile
from rerank_plugin.evaluation.outcomes import COMPLETE, FAILED, Outcome, make_outcome
from rerank_plugin.evaluation.stage_runners import Candidates, FirstStage, Ranked, SecondStage
from rerank_plugin.evaluation.stages import AnswerKeys, StagedPipeline
from rerank_plugin.progress import CountCallback

if TYPE_CHECKING:
    from haystack import Document

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExperimentSettings:
    """
    How pipelines are run.

    :param candidates: Depth of the first stage, and length of the measured rankings.
    :param folder: Folder for the outcomes; `None`: in memory only.
    """

    candidates: int = 100
    folder: Path | None = None


@dataclass
class Experiment:
    """
    Runs pipelines over queries.

    Loaded stages stay loaded, so that further queries (in another language, for example) can follow.

    :param settings: Depth, and the folder for the outcomes.
    """

    settings: ExperimentSettings
    _files: dict[str, OutcomeFile] = field(default_factory=dict)
    _firsts: dict[str, FirstStage] = field(default_factory=dict)
    _seconds: dict[str, SecondStage] = field(default_factory=dict)

    def run(
        self, pipelines: Sequence[StagedPipeline], queries: Mapping[str, str], *, on_progress: CountCallback | None = None
    ) -> dict[str, list[Outcome]]:
        """
        Answer queries with every pipeline.

        A query on which a pipeline fails also has an outcome: failed, without documents.

        :param pipelines: The pipelines, with different names.
        :param queries: Texts by id.
        :param on_progress: Called after each query with queries done and total queries.
        :returns: For each pipeline the outcomes, in the order of the queries.
        :raises PipelineConfigError: If two pipelines have the same name, or one cannot be loaded.
        :raises InputFileError: If kept outcomes cannot be read or written.
        """
        names = [pipeline.name for pipeline in pipelines]
        if twice := {name for name in names if names.count(name) > 1}:
            raise PipelineConfigError(f"several pipelines have the name {sorted(twice)}: give the files different names")
        keys = self._keys(pipelines)
        if unanswered := self._waiting(pipelines, queries, keys):
            self._warm_up(unanswered, next(iter(queries.values())))
            keys = self._keys(pipelines)  # loading may have downloaded a newer commit of a Hub model
        for position, (query, text) in enumerate(queries.items()):
            waiting = self._waiting(pipelines, {query: text}, keys)
            for name, outcome in self._answer(waiting, query, text, turn=position):
                self._files[name].add(keys[name].of(text), outcome)
            if on_progress:
                on_progress(position + 1, len(queries))
        return {
            name: [self._files[name].latest(keys[name].of(text), query) for query, text in queries.items()] for name in names
        }

    def _keys(self, pipelines: Sequence[StagedPipeline]) -> dict[str, AnswerKeys]:
        return {
            staged.name: staged.answer_keys(
                corpus=self.first_stage(staged).revision(), candidates=self.settings.candidates, version=__version__
            )
            for staged in pipelines
        }

    def _waiting(
        self, pipelines: Sequence[StagedPipeline], queries: Mapping[str, str], keys: Mapping[str, AnswerKeys]
    ) -> list[StagedPipeline]:
        """Return the pipelines that have not answered all of these queries."""
        return [
            staged
            for staged in pipelines
            if any(self._file(staged).get(keys[staged.name].of(text), query) is None for query, text in queries.items())
        ]

    def _warm_up(self, pipelines: Sequence[StagedPipeline], text: str) -> None:
        """Load the rankers now, so that one that cannot be loaded is an error and not a failure of every query."""
        for staged in pipelines:
            if staged.ranker is not None:
                self.second_stage(staged)
        # The first call compiles kernels and fills caches, so its time does not count.
        self._answer(pipelines, "", text, turn=0)

    def _file(self, staged: StagedPipeline) -> OutcomeFile:
        if staged.name not in self._files:
            folder = self.settings.folder
            self._files[staged.name] = OutcomeFile(None if folder is None else folder / f"{staged.name}.jsonl")
        return self._files[staged.name]

    def first_stage(self, staged: StagedPipeline) -> FirstStage:
        """Return the loaded first stage of a pipeline; pipelines with the same one share it."""
        if staged.first_key not in self._firsts:
            self._firsts[staged.first_key] = FirstStage(staged)
        return self._firsts[staged.first_key]

    def second_stage(self, staged: StagedPipeline) -> SecondStage:
        """Return the loaded ranker of a pipeline; pipelines with the same ranker share it."""
        if staged.ranker_key not in self._seconds:
            self._seconds[staged.ranker_key] = SecondStage(staged)
        return self._seconds[staged.ranker_key]

    def _answer(self, pipelines: Sequence[StagedPipeline], query: str, text: str, *, turn: int) -> list[tuple[str, Outcome]]:
        """Answer a query with each pipeline; every distinct first stage runs once."""
        firsts = {staged.first_key: self.first_stage(staged) for staged in pipelines}
        retrieved = {key: self._retrieve(first, text) for key, first in firsts.items()}
        together = self._rank_together(pipelines, retrieved, text, turn)
        return [
            (staged.name, self._outcome(staged, retrieved[staged.first_key], query, text, together.get(staged.name)))
            for staged in pipelines
        ]

    def _retrieve(self, first: FirstStage, text: str) -> Candidates | Exception:
        try:
            return first.retrieve(text, self.settings.candidates)
        except Exception as error:  # noqa: BLE001 - whatever a component raises, the query counts 0
            return error

    def _rank_together(
        self, pipelines: Sequence[StagedPipeline], retrieved: Mapping[str, Candidates | Exception], text: str, turn: int
    ) -> dict[str, Ranked]:
        """
        Rank for pipelines with the same ranker, scoring each of their candidates once.

        In each query another of the pipelines is ranked alone and timed; then the candidates that only the others retrieved.
        """
        groups: dict[str, list[tuple[str, list[Document]]]] = {}
        for staged in pipelines:
            candidates = retrieved[staged.first_key]
            if staged.ranker is not None and isinstance(candidates, Candidates):
                groups.setdefault(staged.ranker_key, []).append((staged.name, candidates.documents))
        ranked: dict[str, Ranked] = {}
        for key, group in groups.items():
            second = self._seconds[key]
            if len(group) < 2 or not second.is_independent:
                continue
            try:
                ranked |= _rank_group(second, text, group, turn)
            except Exception:
                logger.debug("ranking together failed", exc_info=True)
        return ranked

    def _outcome(
        self, staged: StagedPipeline, retrieved: Candidates | Exception, query: str, text: str, ranked: Ranked | None
    ) -> Outcome:
        try:
            if isinstance(retrieved, Exception):
                raise retrieved
            documents, times = retrieved.documents, retrieved.milliseconds
            if staged.ranker is None or staged.sockets is None:
                return make_outcome(query, documents, None, milliseconds=times)
            second = self.second_stage(staged)
            ranked = ranked or second.rank(text, documents)
            is_whole = second.scores_all and ranked.state == COMPLETE
            ranker = staged.sockets.component  # not of the second stage, which pipelines share under other names
            return make_outcome(
                query,
                ranked.documents,
                {document.id: rank for rank, document in enumerate(documents, start=1)},
                milliseconds=times if ranked.milliseconds is None else {**times, ranker: ranked.milliseconds},
                pairs=ranked.pairs,
                state=ranked.state,
                candidates=scored_candidates(documents, ranked.documents, second.fusion) if is_whole else None,
                second_stage=ranker,
            )
        except Exception as error:  # noqa: BLE001 - the query counts 0, and the report gives the reason
            return Outcome(query, state=FAILED, error=f"{reason_of(error, named=True)}")


def _rank_group(
    second: SecondStage, text: str, group: "Sequence[tuple[str, list[Document]]]", turn: int
) -> dict[str, Ranked]:
    name, first = group[turn % len(group)]
    alone = second.rank(text, first)
    known = {document.id for document in first}
    rest = {document.id: document for _, documents in group for document in documents if document.id not in known}
    others = second.rank(text, list(rest.values()))
    if not alone.state == others.state == COMPLETE:
        return {}  # a fallback: rank for each pipeline separately, to know the state of each
    merged = sorted([*alone.documents, *others.documents], key=lambda document: (-float(document.score or 0.0), document.id))
    ranked = {name: alone}
    for other, documents in group:
        if other != name:
            ids = {document.id for document in documents}
            own = [document for document in merged if document.id in ids]
            ranked[other] = Ranked(own, None, len(own))
    return ranked
