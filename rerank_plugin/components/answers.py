"""The types of a ranker's results."""

from typing import Literal, TypedDict

from haystack import Document

from rerank_plugin.scoring.second_stage import StoppedBy

State = Literal["complete", "partial", "fallback"]


class Status(TypedDict):
    """
    How a result was produced. At run time a plain dictionary, the type of the pipeline sockets.

    - `state`: `complete`; `partial`: the time budget left candidates unscored or partly read; `fallback`: scoring failed,
      and the first-stage order was kept.
    - `candidates`: Number of candidates, each id counted once.
    - `scored`: How many of them have a score of the model.
    - `partly_read`: How many of these were only partly read, as the deadline passed between their windows.
    - `stopped_by`: Why not all were scored; `None` if they were.
    - `cached`: Scores that came from the cache.
    - `milliseconds`: Duration of the whole call.
    - `model_milliseconds`: The call's share of the model's time; the rest is preparation, and waiting for other calls.
    - `backend`: Backend and precision, such as `openvino bf16`.
    - `error`: Why the first-stage order was kept.
    """

    state: State
    candidates: int
    scored: int
    partly_read: int
    stopped_by: StoppedBy | None
    cached: int
    milliseconds: float
    model_milliseconds: float
    backend: str | None
    error: str | None


class Answer(TypedDict):
    """
    A ranker's result.

    - `documents`: Copies, best first.
    - `status`: How the result was produced.
    """

    documents: list[Document]
    status: Status
