"""Counting the tokens of a request before it is scored: for limits, usage, and texts of which only the beginning is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerank_plugin.scoring.windows import cut_sections
from rerank_plugin.serving.engine import RankRequest
from rerank_plugin.serving.problems import RequestError

if TYPE_CHECKING:
    from rerank_plugin.scoring.scorer import PairScorer

# Characters tokenised in one go, so that a text of megabytes takes little memory.
SECTION = 32_768


@dataclass(frozen=True)
class TokenLimits:
    """
    How long the texts of a request may be.

    :param per_text: Maximum tokens of a text.
    :param per_request: Maximum tokens of all texts together.
    """

    per_text: int = 100_000
    per_request: int = 1_000_000


@dataclass(frozen=True)
class Measured:
    """
    A request whose tokens are counted.

    :param query: The query, cut if the request limits it.
    :param texts: The texts, cut where the request limits them.
    :param tokens: Tokens of all pairs.
    :param warnings: What was cut.
    """

    query: str
    texts: Sequence[str]
    tokens: int
    warnings: list[str]


def measure(request: RankRequest, scorer: "PairScorer", limits: TokenLimits) -> Measured:
    """
    Count the tokens of a request, and cut what it wants to be cut.

    :param request: The request.
    :param scorer: The scorer that will read it.
    :param limits: The limits of the server.
    :raises RequestError: If something is longer than allowed.
    """
    warnings: list[str] = []
    query, query_tokens = _query(request, scorer, warnings)
    room = scorer.tokenizer.input_spec.max_length - scorer.tokenizer.special_tokens
    texts, counts = list(request.texts), _counts(request.texts, scorer)
    allowed = request.max_tokens_per_text
    if request.max_tokens_per_pair is not None:
        of_pair = max(1, request.max_tokens_per_pair - min(query_tokens, room // 2) - scorer.tokenizer.special_tokens)
        allowed = of_pair if allowed is None else min(allowed, of_pair)
    if allowed is not None:
        long = [position for position, count in enumerate(counts) if count > allowed]
        for position in long:
            texts[position], counts[position] = _cut(texts[position], allowed, scorer), allowed
        if long:
            warnings.append(f"{len(long)} texts were cut to {allowed} tokens, as the request wants")
    longest = max(range(len(counts)), key=counts.__getitem__, default=0)
    if counts and counts[longest] > limits.per_text:
        raise _too_long(f"text {longest} has {counts[longest]} tokens, and this server reads {limits.per_text} of a text")
    if sum(counts) > limits.per_request:
        raise _too_long(f"the texts have {sum(counts)} tokens, and this server takes {limits.per_request} in a request")
    return Measured(query, texts, sum(counts) + query_tokens * len(counts), warnings)


def _too_long(fact: str) -> RequestError:
    return RequestError(f"{fact}: shorten them, split them, or send fewer", kind="too_long", param="documents")


def _query(request: RankRequest, scorer: "PairScorer", warnings: list[str]) -> tuple[str, int]:
    query = request.query
    (count,) = _counts([query], scorer)
    if request.max_query_tokens is not None and count > request.max_query_tokens:
        warnings.append(f"the query was cut from {count} to {request.max_query_tokens} tokens, as the request wants")
        query, count = _cut(query, request.max_query_tokens, scorer), request.max_query_tokens
    room = (scorer.tokenizer.input_spec.max_length - scorer.tokenizer.special_tokens) // 2
    if count > room:
        fact = f"the query has {count} tokens, and the model reads {room}"
        if request.refuses_long_query:
            raise RequestError(f"{fact}: shorten it", kind="too_long", param="query")
        warnings.append(f"{fact}: the rest was not read")
        count = room
    return query, count


def _counts(texts: Sequence[str], scorer: "PairScorer") -> list[int]:
    counts = [0] * len(texts)
    owners, sections = list[int](), list[str]()
    for position, text in enumerate(texts):
        for start, stop in cut_sections(text, size=SECTION, overlap=0):
            owners.append(position)
            sections.append(text[start:stop])
    for owner, tokens in zip(owners, scorer.tokenizer.encode(sections), strict=True):
        counts[owner] += len(tokens)
    return counts


def _cut(text: str, tokens: int, scorer: "PairScorer") -> str:
    """Return the beginning of a text, with so many tokens."""
    kept = 0
    for start, stop in cut_sections(text, size=SECTION, overlap=0):
        (section,) = scorer.tokenizer.encode([text[start:stop]])
        if kept + len(section) >= tokens:
            return text[: start + scorer.tokenizer.characters(text[start:stop], 0, tokens - kept)[1]]
        kept += len(section)
    return text
