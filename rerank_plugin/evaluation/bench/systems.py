"""The rerankers compared: the stock ranker, ours in several precisions, and FlashRank, all with the same weights."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from haystack import Document
from haystack.utils import ComponentDevice

from rerank_plugin.checks import shown
from rerank_plugin.components import CrossEncoderRanker
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.backends.registry import check_precision, resolve_backend
from rerank_plugin.scoring.loading.spec import resolve_model

Rank = Callable[[str, list[Document]], dict[str, float]]
STOCK = "stock"
FLASHRANK = "flashrank"
STOCK_BATCH = 16
# FlashRank knows models by name only; under this name it reads our file.
FLASHRANK_NAME = "ms-marco-MiniLM-L-12-v2"


def default_systems() -> tuple[str, ...]:
    """Return the default systems: those that the installed packages allow."""
    int8 = ["openvino:int8"] if find_spec("nncf") else []
    return (STOCK, "auto:auto", "openvino:fp32", *int8)


@dataclass(frozen=True)
class System:
    """
    A loaded reranker.

    :param name: Its name in reports.
    :param rank: Returns scores by document id for a query.
    """

    name: str
    rank: Rank


def check_system(name: str) -> None:
    """
    Check that a reranker exists, before anything is loaded.

    :param name: See `load_system`.
    :raises InvalidValueError: If the system is unknown, or a package that it needs is missing.
    """
    if name == FLASHRANK:
        if find_spec("flashrank") is None:
            raise InvalidValueError("system 'flashrank' needs the package: pip install FlashRank")
        return
    backend, colon, precision = name.partition(":")
    if name != STOCK and not colon:
        raise InvalidValueError(
            f"unknown system {shown(name)}: choose {STOCK}, {FLASHRANK}, or BACKEND:PRECISION such as openvino:int8"
        )
    if name != STOCK:
        check_precision(precision, backend=resolve_backend(backend, device="cpu"))


def load_system(name: str, model: str, *, candidates: int, folder: Path) -> System:
    """
    Load a reranker.

    :param name: `stock`, `flashrank`, or `backend:precision` of `CrossEncoderRanker`, such as `openvino:int8`.
    :param model: A bundled name, a folder, or a Hub id.
    :param candidates: Maximum number of documents per query.
    :param folder: Folder for files that it needs.
    :raises InvalidValueError: See `check_system`.
    """
    check_system(name)
    common: dict[str, Any] = {
        "model": resolve_model(model),
        "device": ComponentDevice.from_str("cpu"),
        "top_k": candidates,
        "scale_score": False,
    }
    if name == STOCK:
        from haystack_integrations.components.rankers.sentence_transformers import SentenceTransformersSimilarityRanker

        logging.getLogger("sentence_transformers").setLevel(logging.ERROR)  # its own code triggers its warning at each call
        return _component(name, SentenceTransformersSimilarityRanker(**common, batch_size=STOCK_BATCH))
    if name == FLASHRANK:
        return _flashrank(model, folder)
    backend, _, precision = name.partition(":")
    return _component(name, CrossEncoderRanker(**common, backend=backend, precision=precision))


def _component(name: str, ranker: Any) -> System:
    ranker.warm_up()

    def rank(query: str, documents: list[Document]) -> dict[str, float]:
        return {document.id: document.score for document in ranker.run(query=query, documents=documents)["documents"]}

    return System(name, rank)


def _flashrank(model: str, folder: Path) -> System:
    """FlashRank's tokenising, batching and session on our ONNX file, in float32."""
    from flashrank import Ranker, RerankRequest
    from flashrank.Config import model_file_map

    from rerank_plugin.scoring.backends.onnx_backend import FILE, recipe
    from rerank_plugin.scoring.loading.converted import open_converted
    from rerank_plugin.scoring.loading.location import fetch, locate
    from rerank_plugin.scoring.loading.spec import ModelSpec

    located = locate(ModelSpec(model))
    converted, own = open_converted(located, recipe("fp32")).folder, fetch(located)
    target = folder / FLASHRANK_NAME
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(converted / FILE, target / model_file_map[FLASHRANK_NAME])
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(own / file, target / file)
    (target / "special_tokens_map.json").write_text(json.dumps({}), encoding="utf-8")
    ranker = Ranker(FLASHRANK_NAME, cache_dir=str(folder), max_length=512, log_level="ERROR")

    def rank(query: str, documents: list[Document]) -> dict[str, float]:
        passages = [{"id": document.id, "text": document.content} for document in documents]
        return {result["id"]: float(result["score"]) for result in ranker.rerank(RerankRequest(query, passages))}

    return System(FLASHRANK, rank)
