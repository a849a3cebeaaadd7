"""What every protocol has to say: the shape of a request, what it asks for, its answer, and its errors."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rerank_plugin.checks import shown
from rerank_plugin.serving.engine import RankRequest, RankResult
from rerank_plugin.serving.problems import Problem, RequestError
from rerank_plugin.serving.spans import Span, SpanRequest

# Haystack's TEI ranker sends null for a document without content.
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
TextOrObject = Annotated[str | dict[str, Any], BeforeValidator(lambda value: "" if value is None else value)]


class Body(BaseModel):
    """
    What the requests of all protocols may have. Unknown keys are ignored: clients send those of their other servers.

    `model` may be any name: some clients have one built in. The answer names the model that was used.
    """

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model: str | None = None
    time_budget_ms: float | None = Field(default=None, gt=0, description="Milliseconds that the answer may take.")


class QueryBody(Body):
    """A request with one query."""

    query: str = Field(min_length=1)


B = TypeVar("B", bound=Body)


@dataclass(frozen=True)
class Call:
    """
    What a request asks for.

    :param requests: To be ranked, each by itself.
    :param spans: Which parts of the texts to point out.
    """

    requests: Sequence[RankRequest]
    spans: SpanRequest | None = None


@dataclass(frozen=True)
class Outcome:
    """
    What was found.

    :param results: Of each request.
    :param model: Name of the model that was used.
    :param request_id: Identifies the request in the log.
    :param spans: The relevant parts of the texts, by their index.
    """

    results: Sequence[RankResult]
    model: str
    request_id: str
    spans: Mapping[int, Sequence[Span]] = field(default_factory=dict)

    @property
    def result(self) -> RankResult:
        """The result of the only request."""
        return self.results[0]

    @property
    def tokens(self) -> int:
        """Tokens of all requests."""
        return sum(result.tokens for result in self.results)

    @property
    def warnings(self) -> list[str]:
        """What was not done as the client could have expected."""
        return list(dict.fromkeys(warning for result in self.results for warning in result.warnings))

    @property
    def state(self) -> str:
        """`complete`, or the worst state of a result."""
        states = {result.state for result in self.results}
        return next((state for state in ("fallback", "partial") if state in states), "complete")

    @property
    def scored(self) -> int:
        """Number of texts with a score of the model."""
        return sum(result.scored for result in self.results)


class Dialect(ABC, Generic[B]):
    """
    A protocol.

    :cvar name: Its name in metrics and logs.
    :cvar body: The shape of its requests.
    :cvar example: A request, for the documentation.
    """

    name: ClassVar[str]
    body: type[B]
    example: ClassVar[Mapping[str, Any]]

    @abstractmethod
    def call(self, body: B) -> Call:
        """
        Return what a request asks for.

        :param body: The request.
        :raises RequestError: If it contradicts itself, or asks for what there is not.
        """

    @abstractmethod
    def answer(self, body: B, outcome: Outcome) -> Any:
        """Return the answer, as plain values."""

    def error(self, problem: Problem) -> tuple[int, Any]:
        """Return the status of an error, and its body."""
        return problem.status, error_body(problem)


TYPES = {
    "invalid": "invalid_request_error",
    "empty": "invalid_request_error",
    "too_long": "invalid_request_error",
    "unauthorized": "authentication_error",
    "forbidden": "permission_error",
    "not_found": "not_found_error",
    "too_large": "invalid_request_error",
    "too_slow": "timeout_error",
    "overloaded": "rate_limit_error",
    "model": "server_error",
    "unavailable": "server_error",
    "internal": "server_error",
}


def error_body(problem: Problem) -> dict[str, Any]:
    """
    Return an error in the shape of Cohere (`message`), Jina and Voyage (`detail`), and OpenAI and vLLM (`error`) at once.

    :param problem: The error.
    """
    error = {
        "message": problem.message,
        "type": TYPES[problem.kind],
        "param": problem.param,
        "code": problem.status,
    }
    return {"message": problem.message, "detail": problem.message, "error": error}


def texts_of(documents: Sequence[str | dict[str, Any]], fields: Sequence[str] | None = None) -> list[str]:
    """
    Return the texts of documents that may be objects.

    :param documents: Texts, or objects with texts.
    :param fields: The fields of an object that are read, each on a line with its name if there are several; `None`: `text`.
    :raises RequestError: If an object has none of them, or the value of one is not a text.
    """
    return [
        document if isinstance(document, str) else _text_of(document, position, fields or ["text"])
        for position, document in enumerate(documents)
    ]


def _text_of(document: dict[str, Any], position: int, fields: Sequence[str]) -> str:
    found = [(name, document[name]) for name in fields if document.get(name) is not None]
    if not found:
        what = "images are not ranked here" if "image" in document else f"it has no field {shown(list(fields))}"
        raise RequestError(f"documents[{position}] has no text: {what}", param="documents")
    for name, value in found:
        if isinstance(value, dict | list):
            raise RequestError(f"documents[{position}].{name} must be a text", param="documents")
    if len(found) == 1:
        return str(found[0][1])
    return "\n".join(f"{name}: {value}" for name, value in found)


def as_objects(documents: Sequence[str | dict[str, Any]]) -> list[dict[str, Any]]:
    """Return documents as objects."""
    return [{"text": document} if isinstance(document, str) else document for document in documents]


def results_of(
    outcome: Outcome, documents: Sequence[Any] | None = None, *, score: str = "relevance_score"
) -> list[dict[str, Any]]:
    """
    Return the results of the only request as most protocols have them.

    :param outcome: What was found.
    :param documents: The documents as they come back, in the order of the request; `None`: they do not.
    :param score: The name that the protocol has for a score.
    :returns: An object for each result, best first.
    """
    results: list[dict[str, Any]] = [{"index": text.index, score: text.score} for text in outcome.result.ranked]
    if documents is not None:
        for result in results:
            result["document"] = documents[result["index"]]
    return results


def count_or_all(value: int | None, name: str) -> int | None:
    """
    Return how many texts a client wants; 0 and null mean all.

    :param value: What the client sent.
    :param name: The name of the parameter, for the error message.
    :raises RequestError: If it is negative.
    """
    if value is not None and value < 0:
        raise RequestError(f"{name} must be at least 1, or left out for all, got {value}", param=name)
    return value or None


def status_of(outcome: Outcome) -> dict[str, Any]:
    """Return how the result was produced, which every answer that is an object has under `status`."""
    state: dict[str, Any] = {"state": outcome.state, "scored": outcome.scored}
    return state if not outcome.warnings else {**state, "warnings": outcome.warnings}
