"""Hard negatives for rows of queries and their positives, from an index."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rerank_plugin.checks import shown
from rerank_plugin.collections.beir import BeirDocument, BeirQuery
from rerank_plugin.errors import InputFileError
from rerank_plugin.pipelines import load_pipeline
from rerank_plugin.scale.blocks import Row
from rerank_plugin.search import Searcher
from rerank_plugin.training.mining.draw import MiningCounts, draw_negatives
from rerank_plugin.training.mining.rules import MiningRules


class NegativeFinder:
    """
    Finds negatives.

    :param index: Folder of the index.
    :param pipeline: Name or YAML file of the pipeline that searches.
    :param rules: Parameters of `MiningRules`.
    """

    def __init__(self, index: Path, pipeline: str, rules: dict[str, Any]) -> None:
        self._rules = MiningRules(**{**rules, "random": 0})
        # The ranked list, not what a user sees: near duplicates are not collapsed.
        self._searcher = Searcher(load_pipeline(pipeline, index=index), until="ranked")
        self._searcher.warm_up()

    def find(self, rows: Sequence[Row], place: str) -> list[Row]:
        """
        Find the negatives of rows.

        :param rows: Rows with `query` and `positives`, a list of texts.
        :param place: Where the rows are, for messages.
        :returns: The rows, with `negatives`.
        :raises InputFileError: If a row has another form.
        """
        return [self._mined(row, f"{place}, row {number}") for number, row in enumerate(rows, start=1)]

    def _mined(self, row: Row, place: str) -> Row:
        text, positives = row.get("query"), row.get("positives")
        if not isinstance(text, str) or not text.strip():
            raise InputFileError(f"{place}: query must be a text, got {shown(text)}")
        if not isinstance(positives, list) or not positives or not all(isinstance(each, str) for each in positives):
            raise InputFileError(f"{place}: positives must be a list of texts, got {shown(positives)}")
        hits = self._searcher.search(text, top_k=self._rules.depth, candidates=self._rules.depth).hits
        corpus = {
            hit.document.id: BeirDocument(
                hit.document.id, hit.document.content or "", str(hit.document.meta.get("title") or "")
            )
            for hit in hits
        }
        relevant = {f"positive {number}": BeirDocument(f"positive {number}", each) for number, each in enumerate(positives)}
        known = {each.strip() for each in positives}
        ranked = [
            (hit.document.id, hit.document.score or 0.0)
            for hit in hits
            if corpus[hit.document.id].text.strip() not in known and corpus[hit.document.id].full_text.strip() not in known
        ]
        query = BeirQuery(str(row.get("id", text)), text)
        drawn = draw_negatives(
            query, list(relevant), ranked, dict(ranked), corpus | relevant, list(corpus), self._rules, MiningCounts()
        )
        return {**row, "negatives": [corpus[negative.id].full_text for negative in drawn]}
