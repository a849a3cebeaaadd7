"""The corpus to adapt to: the pipeline that searches it, and a sample of its passages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_plugin.components.config import RankerConfig
from rerank_plugin.components.inputs import passage_of
from rerank_plugin.components.ranker import CrossEncoderRanker
from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.evaluation.stage_runners import FirstStage
from rerank_plugin.evaluation.stages import OUR_RANKER, StagedPipeline, split_stages
from rerank_plugin.indexing import index_paths
from rerank_plugin.pipelines import read_pipeline
from rerank_plugin.progress import ProgressCallback, counts_of
from rerank_plugin.store.folder import DATABASE
from rerank_plugin.training.adapting.request import MOST_PASSAGES, AdaptRequest

if TYPE_CHECKING:
    from haystack import Document

INDEX = "index"
YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class Corpus:
    """
    A corpus, open for searching.

    :param first_stage: Finds candidates.
    :param staged: The pipeline.
    :param index: Folder of the index; `None`: the one that the pipeline names.
    :param passages: A sample of the passages.
    :param model: The model to start from.
    """

    first_stage: FirstStage
    staged: StagedPipeline
    index: Path | None
    passages: "list[Document]"
    model: str
    _config: RankerConfig = field(repr=False)

    def text(self, document: "Document") -> str:
        """Return a passage as the ranker reads it."""
        return passage_of(document, self._config)

    def candidates(self, query: str, depth: int) -> "list[Document]":
        """Return the candidates of a query, best first."""
        return self.first_stage.retrieve(query, depth).documents


def open_corpus(request: AdaptRequest, on_progress: ProgressCallback | None) -> Corpus:
    """
    Open the pipeline of a request; files are indexed first, into the output folder.

    :param request: The request.
    :param on_progress: Called while indexing.
    :raises InputFileError: If a source does not exist.
    :raises InvalidValueError: If the sources cannot be used together, or hold too little text.
    :raises PipelineConfigError: If the pipeline cannot be loaded.
    """
    pipeline, index, files = _sort_sources(request)
    staged = split_stages(Path(pipeline).stem, read_pipeline(pipeline))
    if files:
        index = request.output / INDEX
        kind = "indexing" if staged.needs_vectors else "indexing_keyword"
        progress = counts_of(on_progress, "Indexing")
        report = index_paths(files, index, pipeline=kind, language=request.language, progress=progress)
        if report.failed:
            raise InputFileError(f"{report.failed[0]}: adapt to files that can be read")
    data = read_pipeline(pipeline, index=index)
    staged = split_stages(Path(pipeline).stem, data)
    ranker = _ranker(staged)
    first_stage = FirstStage(staged)
    passages = _sample(first_stage, request.seed)
    if len(passages) < 2:
        raise InvalidValueError(f"the corpus has {len(passages)} passages with text: nothing can be learned from so little")
    return Corpus(first_stage, staged, index, passages, request.model or ranker.config.model, ranker.config)


def _sort_sources(request: AdaptRequest) -> tuple[str, Path | None, list[Path]]:
    """Return the pipeline, the index, and the files to index."""
    for source in request.sources:
        if not source.exists():
            raise InputFileError(f"{source} does not exist: give an index, a pipeline YAML, or files")
    pipelines = [source for source in request.sources if source.suffix in YAML]
    indexes = [source for source in request.sources if (source / DATABASE).is_file()]
    files = [source for source in request.sources if source not in (*pipelines, *indexes)]
    if len(pipelines) > 1 or len(indexes) > 1 or (files and (pipelines or indexes)):
        raise InvalidValueError(
            "adapt to one index, to one pipeline YAML (and the index that it shall search), or to files and folders: "
            f"{', '.join(map(str, request.sources))} are not one of these"
        )
    return str(pipelines[0]) if pipelines else request.pipeline, indexes[0] if indexes else None, files


def _ranker(staged: StagedPipeline) -> CrossEncoderRanker:
    """Return the ranker, not loaded, for its configuration; a default one where the pipeline has none of ours."""
    if staged.ranker is not None and staged.ranker["type"] == OUR_RANKER:
        return CrossEncoderRanker.from_dict(staged.ranker)
    return CrossEncoderRanker(meta_fields_to_embed=["title"])


def _sample(first_stage: FirstStage, seed: int) -> "list[Document]":
    stores: Sequence[Any] = first_stage.stores()
    if not stores:
        raise InvalidValueError("the pipeline names no document store whose passages could be read")
    store = stores[0]
    if hasattr(store, "sample_documents"):
        documents = store.sample_documents(MOST_PASSAGES, seed=seed)
    else:
        documents = store.filter_documents()[:MOST_PASSAGES]
    return [document for document in documents if document.content and document.content.strip()]
