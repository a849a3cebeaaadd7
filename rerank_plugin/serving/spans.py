"""The sentences of ranked texts that are relevant to the query, by their place in the text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rerank_plugin.sentences import split_sentences
from rerank_plugin.serving.engine import Ranked, RankEngine, RankRequest

# Sentences of a text that are scored; of a longer text those of the part that decided its score come first.
MOST_SENTENCES = 200


@dataclass(frozen=True)
class SpanRequest:
    """
    Which parts of the texts a client wants to have pointed out.

    :param threshold: Least score of a sentence.
    :param max_spans: Maximum number for each text; `None`: no limit.
    """

    threshold: float = 0.1
    max_spans: int | None = None


@dataclass(frozen=True)
class Span:
    """
    A relevant part of a text.

    :param start: Its first character (code point).
    :param end: The character after its last.
    :param score: Its score.
    """

    start: int
    end: int
    score: float


async def relevant_spans(
    engine: RankEngine, request: RankRequest, ranked: Sequence[Ranked], wanted: SpanRequest
) -> Mapping[int, list[Span]]:
    """
    Score the sentences of texts by themselves.

    :param engine: What scores them, as one more request.
    :param request: The request that was ranked.
    :param ranked: Its result.
    :param wanted: Which spans.
    :returns: Spans by the index of the text, best first.
    """
    places = [(text.index, span) for text in ranked for span in sentence_places(request.texts[text.index], text.window)]
    found: dict[int, list[Span]] = {text.index: [] for text in ranked}
    if not places:
        return found
    sentences = [request.texts[index][start:end] for index, (start, end) in places]
    result = await engine.rank(
        RankRequest(request.query, sentences, time_budget_ms=request.time_budget_ms, priority=request.priority)
    )
    for sentence in result.ranked:  # best first
        index, (start, end) = places[sentence.index]
        is_full = wanted.max_spans is not None and len(found[index]) >= wanted.max_spans
        if sentence.is_scored and sentence.score >= wanted.threshold and not is_full:
            found[index].append(Span(start, end, sentence.score))
    return found


def sentence_places(text: str, window: tuple[int, int] | None) -> list[tuple[int, int]]:
    """
    Return where the sentences of a text are, those within the window first.

    Sentences are split with white space normalised and markup left out; one that is not found in the text is passed over.
    A text without any sentence that is found counts as one.
    """
    if not text.strip():
        return []
    places: list[tuple[int, int]] = []
    at = 0
    for sentence in split_sentences(text):
        pattern = r"[\s>*|-]+".join(map(re.escape, sentence.split()))
        match = re.compile(pattern).search(text, at)
        if match is not None:
            places.append(match.span())
            at = match.end()
    if not places:
        return [window or (0, len(text))]
    if window is not None:
        places.sort(key=lambda place: not (window[0] <= place[0] and place[1] <= window[1]))
    return places[:MOST_SENTENCES]
