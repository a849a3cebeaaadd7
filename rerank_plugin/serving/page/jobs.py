"""Indexing uploaded files one after the other, in the background, with progress that the page asks for."""

import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rerank_plugin.checks import shown
from rerank_plugin.errors import RerankError
from rerank_plugin.indexing import IndexReport
from rerank_plugin.progress import following_parts
from rerank_plugin.serving.problems import RequestError

logger = logging.getLogger(__name__)

# Finished jobs that can still be asked for, and undone.
MOST_KEPT = 1000


@dataclass
class Job:
    """
    A file that is being indexed.

    :param source: The file.
    :ivar id: Names the job.
    :ivar state: What it is doing.
    :ivar parts: What is being counted within the file, such as `pages`.
    :ivar done: How many of them are done.
    :ivar total: How many there are; `None`: not known yet.
    :ivar passages: How many passages the file has, when it is done.
    :ivar error: Why it failed.
    """

    source: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    parts: str | None = None
    done: int = 0
    total: int | None = None
    passages: int = 0
    error: str | None = None

    def note(self, parts: str, done: int, total: int | None) -> None:
        """Note how far it is."""
        self.parts, self.done, self.total = parts, done, total


class Jobs:
    """
    Runs one job at a time.

    :param index_file: Indexes a file.
    :param drop: Puts a file aside that could not be indexed.
    """

    def __init__(self, index_file: Callable[[Path], IndexReport], drop: Callable[[str], object]) -> None:
        self._index_file, self._drop = index_file, drop
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="page-indexing")

    def add(self, file: Path) -> Job:
        """
        Begin to index a file when those before it are done.

        :param file: The file.
        """
        job = Job(str(file))
        with self._lock:
            self._jobs[job.id] = job
            while len(self._jobs) > MOST_KEPT:
                self._jobs.popitem(last=False)
        self._thread.submit(self._run, job)
        return job

    def get(self, job_id: str) -> Job:
        """
        Return a job.

        :param job_id: Its id.
        :raises RequestError: If there is none.
        """
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise RequestError(f"there is no job {shown(job_id)}", status=404, kind="not_found")
        return job

    def close(self) -> None:
        """Wait for the job that runs, and leave out those that wait."""
        self._thread.shutdown(cancel_futures=True)

    def _run(self, job: Job) -> None:
        job.state = "running"
        name = Path(job.source).name
        try:
            with following_parts(job.note):
                report = self._index_file(Path(job.source))
            failed = next(iter([*report.failed, *report.skipped]), None)
        except RerankError as error:
            failed = str(error)
        except Exception as error:  # noqa: BLE001 - told to the visitor, without what it may quote
            logger.error("indexing an uploaded file failed: %s", type(error).__name__)
            failed = f"{job.source} cannot be indexed: the log of the server has the reason"
        if failed is not None:
            self._drop(job.source)
            job.error = failed.replace(job.source, name)
            job.state = "failed"
        else:
            job.passages = report.passages
            job.state = "done"
