"""Where in a passage the words of the query stand, and which of its sentences answers best."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from rerank_plugin.serving.page.variants import Prepared
from rerank_plugin.serving.spans import sentence_places
from rerank_plugin.store.keywords.analysis import STEMMERS, STOP_WORDS, Analyzer, make_analyzer
from rerank_plugin.store.keywords.highlights import Span, span_finder

# What is sent of a passage; the whole one is a click away.
MOST_CHARACTERS = 20_000
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")


def word_finder(query: str, store: Any) -> Callable[[str], list[Span]]:
    """
    Return a function that finds the words of a query in a text, by their stems and without function words.

    :param query: The query.
    :param store: The document store; of one of another kind, the language is guessed from the script of the query.
    """
    language = store.settings().get("language") if hasattr(store, "settings") else None
    if _CYRILLIC.search(query) and language in (None, "en"):
        language = "ru"  # an index of several languages is stemmed as one of them
    analyze = _analyzer(language if language in STEMMERS else "en")
    return span_finder(analyze(query), analyze)


@cache
def _analyzer(language: str) -> Analyzer:
    return make_analyzer(language, stop_words=language in STOP_WORDS)


def best_sentences(query: str, texts: Sequence[str], prepared: Prepared) -> list[Span | None]:
    """
    Find the sentence of each text that answers a query best.

    :param query: The query.
    :param texts: The texts.
    :param prepared: The pipeline whose cross-encoder scores the sentences, all in one call.
    :returns: Its characters; `None` for a text without sentences, and without a cross-encoder.
    """
    places = [sentence_places(text, None) for text in texts]
    sentences = [text[start:end] for text, spans in zip(texts, places, strict=True) for start, end in spans]
    scores = prepared.probabilities(query, sentences) if sentences else None
    if scores is None:
        return [None] * len(texts)
    remaining = iter(scores)
    scored = [[(next(remaining), span) for span in spans] for spans in places]
    return [max(pairs)[1] if pairs else None for pairs in scored]
