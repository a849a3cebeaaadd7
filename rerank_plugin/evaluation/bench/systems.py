"""The rerankers compared: the stock ranker, ours in several precisions, and peers, all with the same weights."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from haystack import Document
from haystack.utils import ComponentDevice

from rerank_plugin.checks import shown
from rerank_plugin.components import CrossEncoderRanker
from rerank_plugin.components.inputs import Overrides
from rerank_plugin.components.reranker import Reranker
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.bench.peers import PEERS, Peer
from rerank_plugin.scoring.backends.registry import check_precision, resolve_backend
from rerank_plugin.scoring.limits import Usage
from rerank_plugin.scoring.loading.spec import resolve_model

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
class Ranked:
    """
    What a call gave.

    :param scores: Scores by document id.
    :param phases: Seconds by phase, `model` and perhaps `tokenizing`, where the system lets them be seen; the rest is
        batching, Python, and waiting.
    """

    scores: dict[str, float]
    phases: dict[str, float]


Rank = Callable[[str, list[Document]], Ranked]


@dataclass(frozen=True)
class System:
    """
    A loaded reranker.

    :param name: Its name in reports.
    :param rank: Ranks the documents of a query; several threads may call it at the same time.
    :param close: Ends what it holds.
    :param process_id: The process that does its work; `None`: this one.
    """

    name: str
    rank: Rank
    close: Callable[[], None]
    process_id: int | None = None


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
    if name in PEERS:
        return
    backend, colon, precision = name.partition(":")
    if name != STOCK and not colon:
        raise InvalidValueError(
            f"unknown system {shown(name)}: choose {STOCK}, {FLASHRANK}, {', '.join(PEERS)}, or BACKEND:PRECISION such as "
            "openvino:int8"
        )
    if name != STOCK:
        check_precision(precision, backend=resolve_backend(backend, device="cpu"))


def load_system(name: str, model: str, *, candidates: int, folder: Path, callers: int = 1) -> System:
    """
    Load a reranker.

    :param name: `stock`, `flashrank`, a key of `PEERS`, or `backend:precision` of `CrossEncoderRanker`, such as
        `openvino:int8`.
    :param model: A bundled name, a folder, or a Hub id.
    :param candidates: Maximum number of documents per query.
    :param folder: Folder for files that it needs.
    :param callers: Maximum number of calls at a time.
    :raises InvalidValueError: See `check_system`.
    :raises ModelError: If it cannot load the model.
    """
    check_system(name)
    common: dict[str, Any] = {
        "model": resolve_model(model),
        "device": ComponentDevice.from_str("cpu"),
        "top_k": candidates,
        "scale_score": False,
    }
    if name == STOCK:
        return _stock(common)
    if name == FLASHRANK:
        return _flashrank(model, folder)
    if name in PEERS:
        return _peer(name, model, folder, callers)
    backend, _, precision = name.partition(":")
    return _ours(name, CrossEncoderRanker(**common, backend=backend, precision=precision))


def _stock(arguments: dict[str, Any]) -> System:
    from haystack_integrations.components.rankers.sentence_transformers import SentenceTransformersSimilarityRanker

    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)  # its own code triggers its warning at each call
    ranker = SentenceTransformersSimilarityRanker(**arguments, batch_size=STOCK_BATCH)
    ranker.warm_up()
    phases = _watch(ranker._cross_encoder)

    def rank(query: str, documents: list[Document]) -> Ranked:
        phases.model = 0.0
        found = ranker.run(query=query, documents=documents)["documents"]
        return Ranked({document.id: float(document.score or 0) for document in found}, {"model": phases.model})

    return System(STOCK, rank, _nothing)


def _watch(network: Any) -> Any:
    """Let a module of torch note the seconds of its `forward`, for each thread."""
    phases = threading.local()

    def begin(*_: Any) -> None:
        phases.began = time.perf_counter()

    def end(*_: Any) -> None:
        phases.model = getattr(phases, "model", 0.0) + time.perf_counter() - phases.began

    network.register_forward_pre_hook(begin)
    network.register_forward_hook(end)
    return phases


def _ours(name: str, ranker: CrossEncoderRanker) -> System:
    reranker = Reranker(ranker.config)
    reranker.warm_up()

    def rank(query: str, documents: list[Document]) -> Ranked:
        usage = Usage()
        (answer,) = reranker.answer([query], [documents], Overrides(), usage=usage)
        return Ranked(
            {document.id: float(document.score or 0) for document in answer["documents"]},
            {"model": usage.seconds, "tokenizing": usage.tokenizing},
        )

    return System(name, rank, reranker.close)


def _peer(name: str, model: str, folder: Path, callers: int) -> System:
    from rerank_plugin.scoring.loading.location import fetch, locate
    from rerank_plugin.scoring.loading.spec import ModelSpec

    loadable = _onnx_folder(model, folder / name, "model.onnx") if name == "fastembed" else fetch(locate(ModelSpec(model)))
    peer = Peer(name, loadable, callers=callers)

    def rank(query: str, documents: list[Document]) -> Ranked:
        scores = peer.score(query, [document.content or "" for document in documents])
        return Ranked({document.id: score for document, score in zip(documents, scores, strict=True)}, {})

    return System(name, rank, peer.close, peer.process_id)


def _flashrank(model: str, folder: Path) -> System:
    """FlashRank's tokenising, batching and session on our ONNX file, in float32."""
    from flashrank import Ranker, RerankRequest
    from flashrank.Config import model_file_map

    _onnx_folder(model, folder / FLASHRANK_NAME, model_file_map[FLASHRANK_NAME])
    ranker = Ranker(FLASHRANK_NAME, cache_dir=str(folder), max_length=512, log_level="ERROR")

    def rank(query: str, documents: list[Document]) -> Ranked:
        passages = [{"id": document.id, "text": document.content} for document in documents]
        found = ranker.rerank(RerankRequest(query, passages))
        return Ranked({result["id"]: float(result["score"]) for result in found}, {})

    return System(FLASHRANK, rank, _nothing)


def _onnx_folder(model: str, target: Path, file_name: str) -> Path:
    """Write the model as a peer expects it: one ONNX file in float32, and the tokenizer's files."""
    from rerank_plugin.scoring.backends.onnx_backend import FILE, recipe
    from rerank_plugin.scoring.loading.converted import open_converted
    from rerank_plugin.scoring.loading.location import fetch, locate
    from rerank_plugin.scoring.loading.spec import ModelSpec

    located = locate(ModelSpec(model))
    converted, own = open_converted(located, recipe("fp32")).folder, fetch(located)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(converted / FILE, target / file_name)
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(own / file, target / file)
    (target / "special_tokens_map.json").write_text(json.dumps({}), encoding="utf-8")
    return target


def _nothing() -> None:
    pass
