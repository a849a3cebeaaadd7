"""The types of what a ranker returns."""

from typing import Literal, TypedDict

from haystack import Document

from rerank_plugin.scoring.second_stage import StoppedBy

State = Literal["complete", "partial", "fallback"]


class Status(TypedDict):
    """
    How an answer came about. A plain dictionary at run time, as sockets of pipelines carry it.

    - `state`: `complete`; `partial`: the time budget left candidates unscored or partly read; `fallback`: scoring failed,
      the order is the first stage's.
    - `candidates`: Documents that were passed, each id counted once.
    - `scored`: How many of them have a score of the model.
    - `partly_read`: How many of these were read in part only, as the deadline came between their windows.
    - `stopped_by`: Why not all were scored; `None` if they were.
    - `cached`: Scores that came from the cache.
    - `milliseconds`: Of the whole call.
    - `backend`: What scored, such as `openvino bf16`.
    - `error`: Why the first stage's order was kept.
    """

    state: State
    candidates: int
    scored: int
    partly_read: int
    stopped_by: StoppedBy | None
    cached: int
    milliseconds: float
    backend: str | None
    error: str | None


class Answer(TypedDict):
    """
    What a ranker returns.

    - `documents`: Copies, best first.
    - `status`: How they came about.
    """

    documents: list[Document]
    status: Status
