"""Judged queries of a collection in BEIR layout."""

from itertools import islice
from pathlib import Path

from rerank_plugin.beir import BeirDataset, BeirQuery, Qrels
from rerank_plugin.errors import InvalidValueError


def judged_queries(
    folder: Path, *, split: str, lang: str | None = None, limit: int | None = None
) -> tuple[dict[str, BeirQuery], Qrels]:
    """
    Read the queries that have judgements.

    :param folder: A collection in BEIR layout.
    :param split: Which judgements: `qrels/SPLIT.tsv`.
    :param lang: Only queries whose metadata has this `lang`; `None`: all.
    :param limit: Most queries; `None`: all.
    :returns: Queries by id, and the judgements.
    :raises InputFileError: If a file is missing or malformed.
    :raises InvalidValueError: If no query is left.
    """
    collection = BeirDataset(folder)
    qrels = collection.qrels(split)
    judged = (
        (id_, query)
        for id_, query in collection.queries().items()
        if id_ in qrels and (lang is None or query.metadata.get("lang") == lang)
    )
    queries = dict(islice(judged, limit))
    if not queries:
        raise InvalidValueError(f"{folder} has no judged queries in split {split!r}: check the split and the language")
    return queries, qrels
