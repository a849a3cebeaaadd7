"""`rerank judge --json`: requests as lines of JSON on standard input, an answer to each on standard output."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError, RerankError

if TYPE_CHECKING:
    from rerank_plugin.judgements.judgements import Judgements
    from rerank_plugin.judgements.pooling import PooledHit

_FIELDS = ("query", "document_id", "grade", "judge", "weak", "shown")


@dataclass(frozen=True)
class LineJudge:
    """
    Answers lines.

    :param judgements: The judgements of the index.
    :param judge: Whose judgements they are, where a line does not say.
    :param pool: Returns the hits of a query.
    :param blind: Whether answers hide what ranked a hit where.
    """

    judgements: "Judgements"
    judge: str
    pool: "Callable[[str], Sequence[PooledHit]]"
    blind: bool

    def answers(self, lines: Iterable[str]) -> "Iterable[dict[str, Any]]":
        """
        Yield the answer to each line, after what it asks for is on disk.

        :param lines: Objects: a grade (`query`, `document_id`, `grade`), `{"undo": true}`, or `{"pool": "QUERY"}`.
        :raises InvalidValueError: If a line is wrong; the lines before it were done.
        """
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield self._answer(_parsed(line))
            except RerankError as error:
                raise InvalidValueError(f"line {number} of the input: {error}") from error

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        from rerank_plugin.judgements.judgements import Judgement

        if request.get("undo") is True:
            undone = self.judgements.undo(request.get("judge", self.judge))
            return {"undone": None if undone is None else asdict(undone)}
        if "pool" in request:
            return {"query": request["pool"], "hits": [self._hit(hit) for hit in self.pool(request["pool"])]}
        if missing := [name for name in ("query", "document_id", "grade") if name not in request]:
            raise InvalidValueError(f"lacks {missing[0]}: write query, document_id and grade, or undo, or pool")
        if unknown := request.keys() - set(_FIELDS):
            raise InvalidValueError(f"has the unknown field {shown(min(unknown))}: the fields are {', '.join(_FIELDS)}")
        given = {name: request[name] for name in _FIELDS[1:] if name in request}
        return asdict(self.judgements.judge(request["query"], Judgement(**{"judge": self.judge, **given})))

    def _hit(self, hit: "PooledHit") -> dict[str, Any]:
        document = hit.document
        plain = {"id": document.id, "content": document.content, "meta": document.meta}
        return plain if self.blind else {**plain, "stages": hit.stages}


def _parsed(line: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(f"is not valid JSON ({error})") from None
    if not isinstance(request, dict):
        raise InvalidValueError(f"must be an object, got {shown(request)}")
    return request
