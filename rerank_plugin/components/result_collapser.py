"""The last stage of a search as a Haystack component: collapses near duplicates, and limits the hits of one file."""

from haystack import Document, component

from rerank_plugin.checks import check_count
from rerank_plugin.components.collapsing import (
    DEFAULT_SHINGLE_SIZE,
    DEFAULT_THRESHOLD,
    Collapsed,
    check_limits,
    collapse_results,
)


@component
class ResultCollapser:
    """
    Drops near duplicates of better hits and limits the hits of one file; see `collapse_results`.

    It goes behind a ranker, or behind a retriever or joiner. What comes before it should return more than is shown, since
    it can only fill gaps from what it gets: in the packaged pipelines the ranker hands on all candidates.

    ```python
    from haystack import Document
    from rerank_plugin import ResultCollapser

    hits = [Document(content=f"passage {i}", meta={"source": "guide.pdf", "page": i}) for i in range(1, 6)]
    len(ResultCollapser(max_per_source=2).run(documents=hits)["documents"])  # 2
    ```

    :param collapse: Whether near duplicates are dropped.
    :param max_per_source: Maximum number of documents of one file; `None`: no limit.
    :param top_k: Maximum number of documents to return.
    :param threshold: Lowest Jaccard similarity of near duplicates, above 0 and at most 1.
    :param shingle_size: Words in a shingle.
    :raises InvalidValueError: If a value is out of range.
    """

    def __init__(
        self,
        *,
        collapse: bool = True,
        max_per_source: int | None = None,
        top_k: int = 10,
        threshold: float = DEFAULT_THRESHOLD,
        shingle_size: int = DEFAULT_SHINGLE_SIZE,
    ) -> None:
        check_count("top_k", top_k)
        check_limits(collapse, max_per_source, top_k, threshold, shingle_size)
        self.collapse = collapse
        self.max_per_source = max_per_source
        self.top_k = top_k
        self.threshold = threshold
        self.shingle_size = shingle_size

    @component.output_types(documents=list[Document], status=dict[str, int])
    def run(
        self,
        documents: list[Document],
        collapse: bool | None = None,
        max_per_source: int | None = None,
        top_k: int | None = None,
    ) -> Collapsed:
        """
        Collapse a ranked list.

        :param documents: The documents, best first; they are not changed.
        :param collapse: Whether near duplicates are dropped; `None` means as configured.
        :param max_per_source: Maximum number of documents of one file; `None` means as configured.
        :param top_k: Maximum number of documents to return; `None` means as configured.
        :returns: `documents`: those that remain, in the same order, with the places of their duplicates in
            `meta["also_in"]`; `status`: the counts `candidates`, `collapsed` and `over_limit`.
        :raises InvalidValueError: If a value is out of range, or `documents` is not a list of Documents.
        """
        return collapse_results(
            documents,
            collapse=self.collapse if collapse is None else collapse,
            max_per_source=self.max_per_source if max_per_source is None else max_per_source,
            top_k=self.top_k if top_k is None else top_k,
            threshold=self.threshold,
            shingle_size=self.shingle_size,
        )
