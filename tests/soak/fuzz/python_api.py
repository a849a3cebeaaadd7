"""Ranker, retrievers, filters and documents from Python."""

import random
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from conftest import SENTENCES
from haystack import Document
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter
from soak.fuzz import values

from rerank_plugin import BM25Retriever, CrossEncoderRanker, EmbeddingRetriever, HybridDocumentStore

Input = Callable[[random.Random], None]


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and least <= value <= most


def _optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


# The documented values; any other must be rejected. (These may be, if they contradict another parameter.)
ALLOWED: dict[str, Callable[[Any], bool]] = {
    "model": lambda v: isinstance(v, str | Path) and bool(str(v).strip()),
    "top_k": _count,
    "query_prefix": _text,
    "query_suffix": _text,
    "document_prefix": _text,
    "document_suffix": _text,
    "embedding_separator": _text,
    "meta_fields_to_embed": _optional(lambda v: isinstance(v, list | tuple) and all(isinstance(name, str) for name in v)),
    "scale_score": _flag,
    "score_threshold": _optional(lambda v: _number(v, -np.inf, np.inf)),
    "trust_remote_code": _flag,
    "model_kwargs": _optional(lambda v: isinstance(v, dict)),
    "tokenizer_kwargs": _optional(lambda v: isinstance(v, dict)),
    "config_kwargs": _optional(lambda v: isinstance(v, dict)),
    "backend": lambda v: v in ("auto", "torch", "openvino", "onnx"),
    "batch_size": _optional(_count),
    "max_batch_tokens": _optional(_count),
    "precision": lambda v: v in ("auto", "fp32", "bf16", "fp16", "int8"),
    "num_threads": _optional(_count),
    "torch_compile": _flag,
    "max_length": _optional(_count),
    "window_aggregation": lambda v: v in ("max", "mean_top_k", "first", "truncate"),
    "window_overlap": lambda v: v == 0 or _count(v),
    "window_top_k": _count,
    "calibration": lambda v: isinstance(v, str | Path),
    "score_cache": _optional(lambda v: isinstance(v, str | Path)),
    "score_cache_size": _count,
    "time_budget_ms": _optional(lambda v: _number(v, 1e-12, np.inf)),
    "on_error": lambda v: v in ("raise", "keep_order"),
    "fusion": lambda v: v in ("none", "rrf", "linear", "log_linear"),
    "fusion_weight": _optional(lambda v: _number(v, 0, 1)),
    "adaptive_depth": _optional(lambda v: _number(v, 0, 1)),
    "early_exit": _optional(_count),
    "effort": lambda v: v in ("exact", "balanced", "fast"),
}  # fmt: skip


def _allows(name: str, value: Any) -> bool:
    try:
        return bool(ALLOWED[name](value))
    except (TypeError, ValueError):  # an array, or something else without a truth value
        return False


def _candidates(chance: random.Random) -> list[Document]:
    return [
        Document(
            id=f"{chance.randrange(12)}",  # some occur twice
            content=chance.choice([None, *[values.text(chance)] * 5]),
            meta=values.meta(chance) if chance.random() < 0.3 else {},
            score=chance.choice([None, 0.5, 1.0, chance.random(), -3.0]),
        )
        for _ in range(chance.randint(0, 8))
    ]


def ranker_inputs(folder: Path) -> Input:
    """Parameters, queries, documents and overrides of the ranker."""
    ranker = CrossEncoderRanker(model=str(folder / "models" / "cross-encoder"), scale_score=False)

    def one(chance: random.Random) -> None:
        if chance.random() < 0.4:
            name = chance.choice(list(ALLOWED))
            value = values.odd(chance)
            CrossEncoderRanker(**{"model": ranker.model, name: value})
            assert _allows(name, value), f"{name}={value!r} is accepted"
            return
        query = chance.choice([values.text(chance), values.text(chance), values.odd(chance)])
        documents = chance.choice([_candidates(chance)] * 8 + [values.odd(chance), [values.odd(chance)]])
        overrides = {}
        if chance.random() < 0.5:
            name = chance.choice(["top_k", "scale_score", "score_threshold"])
            overrides[name] = chance.choice([values.odd(chance), chance.randint(1, 20)])
        are_documents = isinstance(documents, list | tuple) and all(isinstance(document, Document) for document in documents)
        before = [document.to_dict() for document in documents] if are_documents else None
        result = ranker.run(query=query, documents=documents, **overrides)
        for name, value in overrides.items():
            assert value is None or _allows(name, value), f"{name}={value!r} is accepted by run"
        assert before is not None, f"documents={documents!r} is accepted"
        _check_ranking(ranker, query, documents, result["documents"], overrides, chance)
        assert before == [document.to_dict() for document in documents], "the caller's documents were changed"

    return one


def _check_ranking(
    ranker: CrossEncoderRanker,
    query: str,
    documents: list[Document],
    ranked: list[Document],
    overrides: dict[str, Any],
    chance: random.Random,
) -> None:
    scores = [document.score for document in ranked]
    assert all(isinstance(score, float) and isfinite(score) for score in scores), f"scores {scores}"
    assert [(-d.score, d.id) for d in ranked] == sorted((-d.score, d.id) for d in ranked), "not in order"
    ids = {document.id for document in documents}
    threshold = overrides.get("score_threshold")
    most = min(len(ids), 10 if overrides.get("top_k") is None else overrides["top_k"])
    assert len({d.id for d in ranked}) == len(ranked), "a document occurs twice"
    assert len(ranked) == most if threshold is None else len(ranked) <= most, f"{len(ranked)} of {most} returned"
    if threshold is not None:
        assert all(score >= threshold for score in scores), f"scores below the threshold {threshold}: {scores}"
    if ranked and not overrides.get("scale_score"):
        chosen = chance.choice(ranked)
        (logit,) = ranker.logits(query, [chosen.content or ""])
        assert abs(logit - chosen.score) < 2e-2, f"score {chosen.score}, scored alone {logit}"


def _store() -> tuple[HybridDocumentStore, list[Document]]:
    chance, store = random.Random(11), HybridDocumentStore()
    documents = [
        Document(
            id=f"{i:02}",
            content=f"{SENTENCES[i % len(SENTENCES)]} {' '.join(chance.choices(values.WORDS[:10], k=3))}",
            meta={"a": i % 5, "b": {"c": chance.random()}, "list": [i, "x"], "date": f"2024-05-{i % 28 + 1:02}"},
            embedding=[chance.uniform(-1, 1) for _ in range(4)] if i % 4 else None,
        )
        for i in range(40)
    ]
    store.write_documents(documents)
    return store, documents


def retriever_inputs(folder: Path) -> Input:
    """Queries, vectors, filters and `top_k` of both retrievers."""
    store, documents = _store()
    words, vectors = BM25Retriever(document_store=store), EmbeddingRetriever(document_store=store)

    def one(chance: random.Random) -> None:
        filters = values.filters(chance) if chance.random() < 0.4 else None
        top_k = chance.choice([None, 1, 3, 100, values.odd(chance)])
        if chance.random() < 0.5:
            query = chance.choice([values.text(chance)] * 4 + [values.odd(chance)])
            hits = words.run(query=query, filters=filters, top_k=top_k)["documents"]
        else:
            vector = chance.choice([[chance.uniform(-1, 1) for _ in range(4)]] * 4 + [[0.0] * 4, values.odd(chance)])
            hits = vectors.run(query_embedding=vector, filters=filters, top_k=top_k)["documents"]
            _check_dense(vector, documents, hits, filters, 10 if top_k is None else top_k)
        assert top_k is None or _count(top_k), f"top_k={top_k!r} is accepted"
        assert len(hits) <= (10 if top_k is None else top_k)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True), "not in order"
        assert not any(_matches(filters, hit) is False for hit in hits), "a hit does not match the filters"

    return one


def _check_dense(vector: Any, documents: list[Document], hits: list[Document], filters: Any, top_k: int) -> None:
    judged = [(document, _matches(filters, document)) for document in documents if document.embedding]
    if any(matches is None for _, matches in judged) or not np.linalg.norm(vector):
        return
    allowed = [document for document, matches in judged if matches]
    query = np.asarray(vector) / np.linalg.norm(vector)
    cosines = sorted((float(query @ np.asarray(d.embedding) / np.linalg.norm(d.embedding)) for d in allowed), reverse=True)
    # Whatever a score is made of, the best hits are those with the highest cosines.
    got = [float(query @ np.asarray(hit.embedding) / np.linalg.norm(hit.embedding)) for hit in hits if hit.embedding]
    if len(got) == len(hits):
        assert np.allclose(got, cosines[:top_k], atol=1e-5), f"cosines {got}, expected {cosines[:top_k]}"
    assert len(hits) == min(top_k, len(allowed)), f"{len(hits)} of {min(top_k, len(allowed))} hits"


def _matches(filters: Any, document: Document) -> bool | None:
    """Return Haystack's own result; None if it cannot compare."""
    if not filters:
        return True
    try:
        return document_matches_filter(filters, document)
    except Exception:  # noqa: BLE001 - Haystack raises whatever comes on filters like these
        return None


def _makes_sense(filters: Any) -> bool:
    """Whether filters are well-formed, and compare what can be compared."""
    if not isinstance(filters, dict):
        return False
    operator = filters.get("operator")
    if "conditions" in filters:
        conditions = filters["conditions"]
        return operator in ("AND", "OR", "NOT") and isinstance(conditions, list) and all(map(_makes_sense, conditions))
    value = filters.get("value")
    if not isinstance(filters.get("field"), str) or not filters["field"] or "value" not in filters:
        return False
    if operator in (">", ">=", "<", "<="):
        is_date = isinstance(value, str) and value[:4].isdigit()
        return is_date or (isinstance(value, int | float) and not isinstance(value, bool))
    return operator in ("==", "!=") or (operator in ("in", "not in") and isinstance(value, list))


def filter_inputs(folder: Path) -> Input:
    """Filters on documents with arbitrary metadata, compared with Haystack's own function."""

    def one(chance: random.Random) -> None:
        documents = [Document(id=str(i), content="fox", meta=values.meta(chance)) for i in range(chance.randint(1, 6))]
        store = HybridDocumentStore()
        store.write_documents(documents)
        for _ in range(4):
            filters = values.filters(chance)
            expected = {document.id: _matches(filters, document) for document in documents}
            try:
                matching = {document.id for document in store.filter_documents(filters)}
            except FilterError as error:
                # Invalid filters may be rejected even if Haystack, on these documents, does not evaluate the invalid part.
                if _makes_sense(filters) and None not in expected.values():
                    raise AssertionError(f"refused, but Haystack answers: {filters!r}: {error}") from None
                continue
            assert {i for i, m in expected.items() if m} <= matching, f"too few match {filters!r}"
            assert not {i for i, m in expected.items() if m is False} & matching, f"too many match {filters!r}"
            if filters:
                assert store.count_documents_by_filter(filters) == len(matching), f"another count for {filters!r}"

    return one


def document_inputs(folder: Path) -> Input:
    """Documents with arbitrary content: they are returned unchanged, or none of the batch is written."""

    def one(chance: random.Random) -> None:
        store = HybridDocumentStore()
        store.write_documents([Document(id="first", content="fox", embedding=[1.0, 2.0])])
        batch = [_document(chance) for _ in range(chance.randint(1, 4))]
        policy = chance.choice([DuplicatePolicy.NONE, DuplicatePolicy.OVERWRITE, DuplicatePolicy.SKIP, DuplicatePolicy.FAIL])
        try:
            store.write_documents(batch, policy=policy)
        except BaseException:
            assert [document.id for document in store.filter_documents()] == ["first"], (
                "a refused batch left something behind"
            )
            raise
        there = {document.id: document for document in store.filter_documents()}
        written: dict[str, Document] = {}
        for document in batch:
            if policy is not DuplicatePolicy.SKIP or document.id not in {"first", *written}:
                written[document.id] = document
        for key, document in written.items():
            got = there[key]
            assert got.content == document.content, f"content {document.content!r} became {got.content!r}"
            assert _as_lists(got.meta) == _as_lists(document.meta), f"meta {document.meta!r} became {got.meta!r}"
        with_text = {key for key, d in there.items() if d.content and "fox" in d.content.lower().split()}
        found = {document.id for document in store.bm25_retrieval("fox", top_k=100)}
        assert with_text <= found, f"{with_text - found} are not found by a word of theirs"

    return one


def _document(chance: random.Random) -> Any:
    if chance.random() < 0.05:
        return values.odd(chance)
    meta = values.meta(chance)
    if chance.random() < 0.1:
        meta["a"] = values.odd(chance)
    embedding = chance.choice([None, [1.0, 0.5], [0.0, 0.0], [1.0], [float("nan"), 1.0], [1e39, 1.0], [1e-45, 0.0], []])
    # Given an id, a document hashes nothing: of a lone surrogate, Haystack cannot make a hash.
    document = Document(
        id=f"{chance.random()}", content=chance.choice([None, values.text(chance)]), meta=meta, embedding=embedding
    )
    if chance.random() < 0.6:
        document.id = chance.choice(["first", values.text(chance), values.odd(chance)])
    return document


def _as_lists(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_lists(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _as_lists(item) for key, item in value.items()}
    return value
