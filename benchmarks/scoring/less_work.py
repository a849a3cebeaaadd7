"""
Less work for the same result: savings and quality of adaptive depth and early exit.

    python benchmarks/scoring/less_work.py --fit BEIR_FOLDER SPLIT --measure BEIR_FOLDER SPLIT [--queries 60] [--model minilm-l6-en]

Fits on the first collection (the depth rule; for each early layer a linear head on the first token, by ridge regression on
the full model's logits), measures on the second. Cost is the share of layers computed, relative to the full model on all
candidates. Prints one table: setting, cost, nDCG@10.
"""

import argparse
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from haystack import Document
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.evaluation.bench.material import judged_calls
from rerank_plugin.evaluation.calibrate import ndcg
from rerank_plugin.evaluation.candidates import ScoredCandidates
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.evaluation.judged_candidates import JudgedCandidates
from rerank_plugin.scoring.depth import fit_depth, stopping_point
from rerank_plugin.scoring.loading.spec import resolve_model

LAYERS = (2, 3)
CANDIDATES = 100
TOP_K = 10
CONFIDENCES = (0.99, 0.97, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
SURVIVORS = (50, 40, 30, 20, 15, 10)
RIDGE = 10.0

Calls = dict[str, tuple[str, list[Document]]]


def gather(folder: Path, split: str, count: int, ranker: CrossEncoderRanker) -> tuple[list[JudgedCandidates], Calls]:
    """Return BM25's candidates of the first queries, all scored."""
    queries, qrels = open_collection(folder, split=split).judged()
    chosen = {id_: query.text for id_, query in islice(queries.items(), count)}
    calls = judged_calls(BeirDataset(folder), chosen, candidates=CANDIDATES)
    judged = [
        JudgedCandidates(
            query_id=id_,
            scored=ScoredCandidates(
                document_ids=[document.id for document in documents],
                first_scores=np.array([document.score for document in documents], dtype=np.float64),
                logits=np.array(ranker.logits(query, [d.content or "" for d in documents]), dtype=np.float32),
                id_ranks=np.arange(len(documents)),
            ),
            judgements=dict(qrels[id_]),
        )
        for id_, (query, documents) in calls.items()
    ]
    return judged, calls


def first_tokens(model: Any, query: str, documents: list[Document]) -> dict[int, NDArray[np.float32]]:
    """Return the first token's state after each of the early layers, shape (documents, hidden)."""
    by_layer: dict[int, list[NDArray[np.float32]]] = {layer: [] for layer in LAYERS}
    for start in range(0, len(documents), 16):
        texts = [document.content or "" for document in documents[start : start + 16]]
        inputs = model.tokenizer(
            [query] * len(texts), texts, truncation=True, max_length=512, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            states = model[0].model.base_model(**inputs, output_hidden_states=True).hidden_states
        for layer in LAYERS:
            by_layer[layer].append(states[layer][:, 0].numpy())
    return {layer: np.concatenate(parts) for layer, parts in by_layer.items()}


def ridge(features: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the weights and, last, the offset of a linear head."""
    x = np.hstack([features, np.ones((len(features), 1))]).astype(np.float64)
    return np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ target)


def main() -> None:
    """Fit, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", nargs=2, required=True)
    parser.add_argument("--measure", nargs=2, required=True)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--model", default="minilm-l6-en")
    options = parser.parse_args()
    ranker = CrossEncoderRanker(model=options.model)
    fitted, fit_calls = gather(Path(options.fit[0]), options.fit[1], options.queries, ranker)
    measured, calls = gather(Path(options.measure[0]), options.measure[1], options.queries, ranker)
    print(f"{len(fitted)} queries to fit, {len(measured)} to measure, {CANDIDATES} candidates, model {options.model}")
    print("| setting | cost | nDCG@10 |\n| --- | ---: | ---: |")
    print(f"| first stage | 0 | {ndcg(measured, lambda q: q.scored.ordered_by(-np.arange(len(q.scored)))):.4f} |")
    print(f"| all candidates | 1.00 | {ndcg(measured, lambda q: q.scored.ranking(len(q.scored))):.4f} |", flush=True)

    for depth in (80, 60, 40, 30, 20, 10):
        quality = ndcg(measured, lambda q, n=depth: q.scored.ranking(n))
        print(f"| first {depth} candidates | {depth / CANDIDATES:.2f} | {quality:.4f} |")
    model = fit_depth([q.scored.logits for q in fitted], [q.scored.first_scores for q in fitted], top_k=TOP_K)
    for confidence in CONFIDENCES if model else ():
        rule = model.at(confidence)
        stops = {q.query_id: stopping_point(rule, q.scored.logits, q.scored.first_scores, top_k=TOP_K) for q in measured}
        quality = ndcg(measured, lambda q, s=stops: q.scored.ranking(s[q.query_id]))
        cost = np.mean([stops[q.query_id] / len(q.scored) for q in measured])
        print(f"| adaptive depth {confidence} | {cost:.2f} | {quality:.4f} |", flush=True)

    network = CrossEncoder(resolve_model(options.model), device="cpu")
    layers = network[0].model.config.num_hidden_layers
    fitted_tokens = [first_tokens(network, *fit_calls[q.query_id]) for q in fitted]
    measured_tokens = {q.query_id: first_tokens(network, *calls[q.query_id]) for q in measured}
    target = np.concatenate([q.scored.logits for q in fitted])
    for layer in LAYERS:
        head = ridge(np.concatenate([tokens[layer] for tokens in fitted_tokens]), target)
        for survivors in SURVIVORS:

            def rank(query: JudgedCandidates, layer: int = layer, head: Any = head, n: int = survivors) -> Any:
                look = measured_tokens[query.query_id][layer] @ head[:-1]
                kept = np.argsort(-look, kind="stable")[:n]
                keys = np.where(np.isin(np.arange(len(look)), kept), query.scored.logits, -np.inf)
                return query.scored.ordered_by(keys)

            cost = layer / layers + survivors / CANDIDATES
            print(
                f"| early exit after layer {layer}, {survivors} survive | {cost:.2f} | {ndcg(measured, rank):.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
