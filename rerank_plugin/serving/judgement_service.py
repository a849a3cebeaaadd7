"""The judgements of the index that is served: short work in threads of its own, and one long evaluation at a time."""

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from rerank_plugin.checks import check_text
from rerank_plugin.errors import OverloadedError
from rerank_plugin.judgements.export import export_zip
from rerank_plugin.judgements.judgements import DEFAULT_SET, Judgement, Judgements
from rerank_plugin.judgements.pooling import DEPTH, PooledHit, pool
from rerank_plugin.serving.problems import RequestError
from rerank_plugin.serving.search_service import SearchService

T = TypeVar("T")
THREADS = 4
# Folder in the index for the calibrations that were fitted on its judgements.
CALIBRATIONS = "calibrations"
_MOST_QUERIES = 10_000


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class QueriesBody(_Body):
    """A request to add queries."""

    texts: list[str] = Field(min_length=1, max_length=_MOST_QUERIES)
    set: str = DEFAULT_SET


class JudgementBody(_Body):
    """A grade."""

    query: str
    document_id: str
    grade: int | None = Field(ge=0, le=3, description="0 to 3; null takes back what is in force.")
    judge: str
    weak: bool = Field(default=False, description="Whether it is a guess from a click.")
    shown: dict[str, Any] = Field(default_factory=dict, description="What the judge saw: pipeline, rank, stage, blind.")


class UndoBody(_Body):
    """A request to take back the last grade of a judge."""

    judge: str


class PoolBody(_Body):
    """A request for what there is to judge."""

    query: str
    pipelines: list[str] = Field(default_factory=list, max_length=20, description="Default: all of the server's pipelines.")
    depth: int = Field(default=DEPTH, ge=1, le=1000, description="So many hits of each stage.")
    blind: bool = Field(default=False, description="Whether order and answer hide what ranked a hit where.")


class EvaluateBody(_Body):
    """A request to compare pipelines on the judged queries."""

    pipelines: list[str] = Field(default_factory=list, max_length=20, description="Default: all of the server's pipelines.")
    split: Literal["all", "dev", "test"] = "all"


class CalibrateBody(_Body):
    """A request to calibrate the ranker of a pipeline on the judged queries."""

    pipeline: str
    split: Literal["all", "dev", "test"] = "dev"
    method: Literal["platt", "temperature"] = "platt"


class JudgementService:
    """
    Judges the index of a server.

    :param searches: The searches of the index.
    """

    def __init__(self, searches: SearchService) -> None:
        self._searches = searches
        self._judgements: Judgements | None = None
        self._opening = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="judge-serve")
        # Evaluations and calibrations, one at a time.
        self._long = threading.Lock()
        self._evaluator: Any = None

    def close(self) -> None:
        """Wait for what is running."""
        self._threads.shutdown()
        if self._judgements is not None:
            self._judgements.close()

    async def progress(self) -> dict[str, Any]:
        """Return how far judging got."""
        return await self._run(lambda judgements: asdict(judgements.progress()))

    async def queries(self, of: str | None) -> dict[str, Any]:
        """
        Return the queries of a set.

        :param of: Its name; `None`: all queries.
        """
        found = await self._run(lambda judgements: [asdict(query) for query in judgements.queries(of)])
        return {"queries": found}

    async def add_queries(self, body: QueriesBody) -> dict[str, Any]:
        """
        Add queries to a set.

        :param body: The request.
        """
        return {"added": await self._run(lambda judgements: judgements.add_queries(body.texts, to=body.set))}

    async def grades(self, query: str) -> dict[str, Any]:
        """
        Return the grades in force.

        :param query: The query.
        """
        check_text("query", query)
        return {"judgements": await self._run(lambda judgements: [asdict(grade) for grade in judgements.grades(query)])}

    async def judge(self, body: JudgementBody) -> dict[str, Any]:
        """
        Record a grade; it is on disk when this returns.

        :param body: The grade.
        """
        judgement = Judgement(body.document_id, body.grade, body.judge, body.weak, body.shown)
        return asdict(await self._run(lambda judgements: judgements.judge(body.query, judgement)))

    async def undo(self, body: UndoBody) -> dict[str, Any]:
        """
        Take back the last grade of a judge.

        :param body: The request.
        :raises RequestError: If there is none.
        """
        undone = await self._run(lambda judgements: judgements.undo(body.judge))
        if undone is None:
            raise RequestError("there is nothing left to undo", status=404, kind="not_found", param="judge")
        return asdict(undone)

    async def pool(self, body: PoolBody) -> dict[str, Any]:
        """
        Return the hits of several pipelines and of both stages, each of them once, with the grades in force.

        :param body: The request.
        """
        check_text("query", body.query)
        results = {
            name: await self._searches.both_stages(body.query, name, body.depth) for name in self._names(body.pipelines)
        }
        hits = pool(body.query, results, depth=body.depth, blind=body.blind)
        given = await self._run(lambda judgements: judgements.grades(body.query))
        grades = {grade.document_id: grade.grade for grade in given if not grade.weak and not grade.stale}
        return {"hits": [_hit(hit, grades.get(hit.document.id), blind=body.blind) for hit in hits]}

    async def evaluate(self, body: EvaluateBody) -> dict[str, Any]:
        """
        Compare pipelines on the judged queries.

        :param body: The request.
        :raises OverloadedError: If another evaluation or calibration is running.
        """
        sources = [self._searches.sources[name] for name in self._names(body.pipelines)]
        return await self._alone(partial(self._evaluate, sources, body.split))

    async def calibrate(self, body: CalibrateBody) -> dict[str, Any]:
        """
        Calibrate the ranker of a pipeline on the judged queries; the file is written into the folder of the index.

        :param body: The request.
        :raises OverloadedError: If another evaluation or calibration is running.
        """
        (name,) = self._names([body.pipeline])
        return await self._alone(partial(self._calibrate, name, body.split, body.method))

    async def export(self) -> Path:
        """Return a zip archive of the judged collection, in a temporary folder that the caller removes."""
        return await self._run(_zipped)

    def _names(self, pipelines: list[str]) -> list[str]:
        for name in pipelines:
            self._searches.check_name(name)
        return list(dict.fromkeys(pipelines)) or self._searches.names

    def _evaluate(self, sources: list[str], split: str) -> dict[str, Any]:
        from rerank_plugin.evaluation.judged import JudgedQueries

        if self._evaluator is None:
            self._evaluator = JudgedQueries(self._searches.index, self._searches.embedding_model)
        found = self._evaluator.evaluate(sources, split=split)
        return {
            "queries": found.queries,
            "left_out": found.left_out,
            "failed": found.failed,
            "pipelines": [{"name": f.name, "ndcg@10": f.ndcg, "interval": f.interval} for f in found.pipelines],
            "differences": [asdict(difference) for difference in found.differences],
            "words": found.words,
        }

    def _calibrate(self, name: str, split: str, method: str) -> dict[str, Any]:
        from rerank_plugin.evaluation.calibration_run import run_calibration
        from rerank_plugin.evaluation.request import EvalRequest

        request = EvalRequest(
            dataset=str(self._searches.index),
            pipelines=[self._searches.sources[name]],
            split=split,
            embedding_model=self._searches.embedding_model,
        )
        output = self._searches.index / CALIBRATIONS / f"{name}.json"
        report, _, file = run_calibration(request, method=method, output=output)
        return {"pipeline": name, "file": str(file), "figures": report.lines()}

    def _opened(self) -> Judgements:
        with self._opening:
            if self._judgements is None:
                self._judgements = Judgements.open(self._searches.index)
            return self._judgements

    async def _run(self, work: Callable[[Judgements], T]) -> T:
        return await asyncio.wrap_future(self._threads.submit(lambda: work(self._opened())))

    async def _alone(self, work: Callable[[], T]) -> T:
        def run() -> T:
            if not self._long.acquire(blocking=False):
                raise OverloadedError(
                    "an evaluation or calibration is running: try again when it has ended", retry_after=10.0
                )
            try:
                return work()
            finally:
                self._long.release()

        return await asyncio.wrap_future(self._threads.submit(run))


def _zipped(judgements: Judgements) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rerank-export-"))
    try:
        export_zip(judgements, folder / "judgements.zip")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder / "judgements.zip"


def _hit(hit: PooledHit, grade: int | None, *, blind: bool) -> dict[str, Any]:
    document = hit.document
    plain = {"id": document.id, "content": document.content, "meta": document.meta, "grade": grade}
    return plain if blind else {**plain, "stages": hit.stages}
