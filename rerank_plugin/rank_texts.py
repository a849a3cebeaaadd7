"""Ranking plain texts with one call."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haystack import Document

from rerank_plugin.checks import check_count, check_text, shown
from rerank_plugin.components.config import PARAMETERS
from rerank_plugin.components.ranker import CrossEncoderRanker
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL

# Loaded models that are kept for the next call; each takes a few hundred megabytes.
MOST_RANKERS = 2


@dataclass(frozen=True, slots=True)
class RankedText:
    """
    A text that was ranked.

    :param index: Its position among the texts that were passed in, from 0.
    :param score: Its score, between 0 and 1 unless `scale_score=False`; higher is better. `None` for texts that a
        `time_budget_ms` left unscored, which come last, and for all if the model failed with `on_error="keep_order"`.
    :param text: The text.
    """

    index: int
    score: float | None
    text: str


class _Rankers:
    """The rankers of recent calls, most recent last."""

    def __init__(self) -> None:
        self._rankers: list[CrossEncoderRanker] = []
        self._lock = threading.Lock()

    def get(self, parameters: dict[str, Any]) -> CrossEncoderRanker:
        """Return a ranker with these parameters, with its model loaded if it was used before."""
        ranker = CrossEncoderRanker(**parameters)  # checks the parameters, loads nothing
        with self._lock:
            ranker = next((known for known in self._rankers if known.config == ranker.config), ranker)
            self._rankers = [*(known for known in self._rankers if known is not ranker), ranker]
            dropped, self._rankers = self._rankers[:-MOST_RANKERS], self._rankers[-MOST_RANKERS:]
        for old in dropped:
            old.close()  # waits for nobody: a call that still uses the model keeps it open
        return ranker


_rankers = _Rankers()


def rank(
    query: str,
    texts: Iterable[str],
    *,
    top_k: int | None = None,
    model: str | Path = DEFAULT_MODEL,
    **parameters: Any,
) -> list[RankedText]:
    """
    Rank texts by how well they answer a query, with a cross-encoder.

    ```python
    from rerank_plugin import rank

    for result in rank("why is my bread sour", ["Tea is a drink.", "A long rise makes dough acidic."], top_k=1):
        print(result.index, result.score, result.text)
    ```

    The model is loaded by the first call, which also converts it for this machine if no earlier program has, and is kept for
    the following calls. Threads may call it at the same time.

    :param query: The query.
    :param texts: The texts. Long ones are read whole, window by window. A text may occur twice.
    :param top_k: Number of results; `None`: all texts.
    :param model: A bundled name, a folder, or a Hub id. Default: the bundled English model.
    :param parameters: Any other parameter of `CrossEncoderRanker`, for example `precision="int8"`, `score_threshold=0.5` or
        `scale_score=False`.
    :returns: The best texts, best first; equal scores keep the order of the texts.
    :raises InvalidValueError: If the query or a text is not valid text, or a parameter is unknown or out of range.
    :raises ModelError: If the model cannot be loaded or is not a cross-encoder.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise InvalidValueError(f"texts must be a list of texts, got {shown(texts)}: write [text] for a single one")
    given = [check_text(f"texts[{position}]", text, empty=True) for position, text in enumerate(texts)]
    check_text("query", query)
    limit = max(1, len(given)) if top_k is None else check_count("top_k", top_k)
    unknown = sorted(set(parameters) - set(PARAMETERS))
    if unknown:
        raise InvalidValueError(f"rank has no parameter {unknown[0]!r}: it takes those of CrossEncoderRanker")
    ranker = _rankers.get({"model": model, **parameters})
    # Ids in the order of the texts, by which the ranker orders equal scores.
    documents = [Document(id=f"{position:012d}", content=text) for position, text in enumerate(given)]
    ranked = ranker.run(query=query, documents=documents, top_k=limit)["documents"]
    return [RankedText(int(document.id), document.score, given[int(document.id)]) for document in ranked]
