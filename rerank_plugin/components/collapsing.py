"""Collapsing a ranked list: near duplicates of better hits are dropped, and the hits of one file are limited."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict

from haystack import Document

from rerank_plugin.checks import check_count, check_flag, check_number
from rerank_plugin.components.inputs import check_documents
from rerank_plugin.components.near_duplicates import NearDuplicates, shingles
from rerank_plugin.components.places import file_of, merge_places
from rerank_plugin.store.shared_passages import ALSO_IN

DEFAULT_THRESHOLD = 0.7
DEFAULT_SHINGLE_SIZE = 3


class Collapsed(TypedDict):
    """
    A collapsed result.

    :ivar documents: The documents that remain, best first.
    :ivar status: `candidates`: documents that came in; `collapsed`: near duplicates that are listed in the `also_in` of a
        better hit; `over_limit`: documents passed over because of `max_per_source`.
    """

    documents: list[Document]
    status: dict[str, int]


def collapse_results(
    documents: Sequence[Document],
    *,
    collapse: bool = True,
    max_per_source: int | None = None,
    top_k: int | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    shingle_size: int = DEFAULT_SHINGLE_SIZE,
) -> Collapsed:
    """
    Drop near duplicates of better hits, and limit the hits of one file.

    Two documents are near duplicates if the Jaccard similarity of their word shingles (title and content) reaches the
    threshold (Broder, 1997). The better hit is kept; the places of the others are listed in its `meta["also_in"]`, as
    `source`, with `page`, `section` and `doc_id` where they are known. The order never changes.

    ```python
    from haystack import Document
    from rerank_plugin import collapse_results

    text = "Descale the kettle once a month with citric acid, then rinse it twice."
    hits = [Document(content=text, meta={"source": "new.md"}), Document(content=text, meta={"source": "old.md"})]
    collapse_results(hits)["documents"][0].meta["also_in"]  # [{"source": "old.md"}]
    ```

    :param documents: The documents, best first; pass more than you want to keep. They are not changed.
    :param collapse: Whether near duplicates are dropped.
    :param max_per_source: Maximum number of documents with the same `meta["source"]` (in a corpus file: also the same
        `meta["doc_id"]`). `None`: no limit. Documents without a source are not limited.
    :param top_k: Maximum number of documents to return. `None`: no limit.
    :param threshold: Lowest similarity of near duplicates, above 0 and at most 1.
    :param shingle_size: Words in a shingle: the larger, the more a changed word lowers the similarity.
    :returns: The remaining documents, and how many were left out for which reason.
    :raises InvalidValueError: If a value is out of range, or `documents` is not a list of Documents.
    """
    check_limits(collapse, max_per_source, top_k, threshold, shingle_size)
    check_documents(documents, fusion="none")
    known = NearDuplicates(threshold)
    kept: list[tuple[Document, list[Document]]] = []  # each with its near duplicates
    per_file: Counter[tuple[Any, ...]] = Counter()
    collapsed = over_limit = 0
    for document in documents:
        text = shingles(document, shingle_size) if collapse else frozenset()
        better = known.find(text)
        file = file_of(document)
        if better is not None:
            kept[better][1].append(document)
            collapsed += 1
        elif top_k is not None and len(kept) == top_k:
            continue  # full; the rest is read for duplicates of what is kept
        elif file is not None and max_per_source is not None and per_file[file] == max_per_source:
            over_limit += 1
        else:
            kept.append((document, []))
            known.add(text)
            if file is not None:
                per_file[file] += 1
    return {
        "documents": [_with_places(document, duplicates) for document, duplicates in kept],
        "status": {"candidates": len(documents), "collapsed": collapsed, "over_limit": over_limit},
    }


def check_limits(collapse: bool, max_per_source: int | None, top_k: int | None, threshold: float, shingle_size: int) -> None:
    """
    Check the parameters of `collapse_results`.

    :raises InvalidValueError: If one of them is out of range.
    """
    check_flag("collapse", collapse)
    for name, value in (("max_per_source", max_per_source), ("top_k", top_k)):
        if value is not None:
            check_count(name, value)
    check_number("threshold", threshold, above=0)
    check_number("threshold", threshold, most=1)
    check_count("shingle_size", shingle_size)


def _with_places(document: Document, duplicates: Sequence[Document]) -> Document:
    places = merge_places(document, duplicates) if duplicates else []
    return replace(document, meta={**document.meta, ALSO_IN: places}) if places else document
