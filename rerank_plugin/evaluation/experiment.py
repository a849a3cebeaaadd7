"""Run pipelines over judged queries: what they share runs once, and every answer is kept."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_plugin.errors import PipelineConfigError
from rerank_plugin.evaluation.outcomes import FAILED, Outcome, OutcomeFile, make_outcome
from rerank_plugin.evaluation.stages import RANKER, Candidates, FirstStage, Ranked, SecondStage, StagedPipeline

if TYPE_CHECKING:
    from haystack import Document

logger = logging.getLogger(__name__)

TIMED = 30


@dataclass(frozen=True)
class ExperimentSettings:
    """
    How pipelines are run.

    :param candidates: Depth of the first stage, and length of the rankings that are measured.
    :param timed: Queries at the beginning for which nothing is shared between rankers, so that each one's time is its own.
        On the others, pipelines with the same ranker have their candidates scored together.
    :param folder: Where outcomes are kept; `None`: in memory only.
    """

    candidates: int = 100
    timed: int = TIMED
    folder: Path | None = None


@dataclass
class Experiment:
    """
    Pipelines on their way through queries.

    Stages that were loaded stay loaded: further queries (of another language, say) may follow.

    :param settings: How to run.
    """

    settings: ExperimentSettings
    _files: dict[str, OutcomeFile] = field(default_factory=dict)
    _seconds: dict[str, SecondStage] = field(default_factory=dict)

    def run(
        self,
        pipelines: Sequence[StagedPipeline],
        queries: Mapping[str, str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, list[Outcome]]:
        """
        Answer queries with every pipeline.

        A query on which a pipeline fails is an outcome too: failed, and without documents.

        :param pipelines: With different names.
        :param queries: Texts by id.
        :param progress: Called after each query with queries done and queries in all.
        :returns: For each pipeline the outcomes, in the order of the queries.
        :raises PipelineConfigError: If two pipelines have the same name, or one cannot be loaded.
        """
        names = [pipeline.name for pipeline in pipelines]
        if twice := {name for name in names if names.count(name) > 1}:
            raise PipelineConfigError(f"several pipelines are called {sorted(twice)}: give the files different names")
        firsts = {staged.first_key: staged for staged in pipelines}
        loaded = {key: FirstStage(staged) for key, staged in firsts.items()}
        keys = {
            staged.name: staged.result_key(loaded[staged.first_key].revisions(), self.settings.candidates)
            for staged in pipelines
        }
        is_warm = False
        for position, (query, text) in enumerate(queries.items()):
            waiting = [staged for staged in pipelines if self._file(staged).get(keys[staged.name], query) is None]
            if waiting and not is_warm:
                self._warm_up(waiting, loaded, text)
                is_warm = True
            shares = position >= self.settings.timed
            for name, outcome in self._answer(waiting, loaded, query, text, shares=shares):
                self._files[name].add(keys[name], outcome)
            if progress:
                progress(position + 1, len(queries))
        return {name: [self._files[name].latest(keys[name], query) for query in queries] for name in names}

    def _warm_up(self, pipelines: Sequence[StagedPipeline], loaded: Mapping[str, FirstStage], text: str) -> None:
        """Load the rankers: one that cannot be loaded is an error now, not a failure of every query."""
        for staged in pipelines:
            if staged.ranker is not None:
                self.second_stage(staged)
        # The first call compiles kernels and fills caches: its time says nothing.
        self._answer(pipelines, loaded, "", text, shares=False)

    def _file(self, staged: StagedPipeline) -> OutcomeFile:
        if staged.name not in self._files:
            folder = self.settings.folder
            self._files[staged.name] = OutcomeFile(None if folder is None else folder / f"{staged.name}.jsonl")
        return self._files[staged.name]

    def second_stage(self, staged: StagedPipeline) -> SecondStage:
        """Return the loaded ranker of a pipeline; pipelines with the same ranker have one."""
        if staged.ranker_key not in self._seconds:
            self._seconds[staged.ranker_key] = SecondStage(staged)
        return self._seconds[staged.ranker_key]

    def _answer(
        self, pipelines: Sequence[StagedPipeline], loaded: Mapping[str, FirstStage], query: str, text: str, *, shares: bool
    ) -> list[tuple[str, Outcome]]:
        """Answer a query with each pipeline; every distinct first stage is asked once."""
        keys = dict.fromkeys(staged.first_key for staged in pipelines)
        found = {key: self._retrieve(loaded[key], text) for key in keys}
        together = self._rank_together(pipelines, found, text) if shares else {}
        return [
            (staged.name, self._outcome(staged, found[staged.first_key], query, text, together.get(staged.ranker_key)))
            for staged in pipelines
        ]

    def _retrieve(self, first: FirstStage, text: str) -> Candidates | Exception:
        try:
            return first.retrieve(text, self.settings.candidates)
        except Exception as error:  # noqa: BLE001 - whatever a pipeline's component raises: the query counts 0
            return error

    def _rank_together(
        self, pipelines: Sequence[StagedPipeline], found: Mapping[str, Candidates | Exception], text: str
    ) -> "dict[str, list[Document]]":
        """For each ranker that several pipelines have: the ranking of all their candidates."""
        groups: dict[str, list[StagedPipeline]] = {}
        for staged in pipelines:
            if staged.ranker is not None and isinstance(found[staged.first_key], Candidates):
                groups.setdefault(staged.ranker_key, []).append(staged)
        ranked = {}
        for key, group in groups.items():
            if len(group) > 1 and self.second_stage(group[0]).is_independent:
                documents: Iterable[Document] = (
                    document
                    for staged in group
                    for document in found[staged.first_key].documents  # type: ignore[union-attr]
                )
                union = {document.id: document for document in documents}
                try:
                    ranked[key] = self.second_stage(group[0]).rank(text, list(union.values())).documents
                except Exception:
                    logger.debug("ranking together failed", exc_info=True)
        return ranked

    def _outcome(
        self,
        staged: StagedPipeline,
        found: Candidates | Exception,
        query: str,
        text: str,
        together: "list[Document] | None",
    ) -> Outcome:
        try:
            if isinstance(found, Exception):
                raise found
            if staged.ranker is None:
                return make_outcome(query, found.documents, None, milliseconds=found.milliseconds)
            ranks = {document.id: rank for rank, document in enumerate(found.documents, start=1)}
            times = dict(found.milliseconds)
            if together is None:
                ranked = self.second_stage(staged).rank(text, found.documents)
                times[RANKER] = ranked.milliseconds
            else:
                ranked = Ranked([document for document in together if document.id in ranks], 0.0, len(ranks))
            return make_outcome(query, ranked.documents, ranks, milliseconds=times, pairs=ranked.pairs, state=ranked.state)
        except Exception as error:  # noqa: BLE001 - the query counts 0, and the report says why
            return Outcome(query, state=FAILED, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
