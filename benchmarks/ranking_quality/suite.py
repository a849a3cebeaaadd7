"""
Measure rerankers on the dev splits of eight collections, English and Russian, beside BM25 and rank fusion of BM25 and a bi-encoder.

    python benchmarks/ranking_quality/suite.py FOLDER_OF_COLLECTIONS WORK MODEL... [--queries 60] [--candidates 40]

A MODEL is a bundled name, a folder, a Hub id, or NAME=one of these. Candidates and scores are kept in WORK, so a second run only scores
with models that are new. All systems order the same BM25 candidates (with the stemming of the language). Choices are made by these figures;
the test splits are read once, at the end.

With --hybrid the first stage is hybrid search, for English collections: rank fusion of the 100 best each of BM25 and of the packaged bi-encoder
over the whole collection.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.components import CrossEncoderRanker
from rerank_plugin.evaluation.candidates import FusionSetting, ScoredCandidates
from rerank_plugin.evaluation.collection import Collection
from rerank_plugin.evaluation.comparison import Difference, compare_evaluations
from rerank_plugin.evaluation.measures import NDCG, Evaluation, evaluate
from rerank_plugin.files import replace_file
from rerank_plugin.pipelines.embedding_models import PACKAGED_MODEL, packaged_model
from rerank_plugin.scoring.fusion import RRF_CONSTANT
from rerank_plugin.training.fingerprints import fingerprint_model
from rerank_plugin.training.mining.first_stage import FirstStageSpec

SUITE = {
    "selqa_sections": "en",
    "perspectrum": "en",
    "techfaq_en": "en",
    "scitldr_en": "en",
    "danetqa_ru": "ru",
    "muserc_ru": "ru",
    "rumeddanet_ru": "ru",
    "techfaq_ru": "ru",
}
SPLIT = "dev"
FIRST, RRF = "first stage", "RRF"
# Those of `bm25_rerank` and `hybrid_rerank`.
BLEND, HYBRID_BLEND = FusionSetting("log_linear", 0.5), FusionSetting("log_linear", 0.4)
RETRIEVED = 100


@dataclass(frozen=True)
class Judged:
    """
    A collection's queries with their candidates.

    :param name: The collection.
    :param queries: Texts by id.
    :param candidates: For each query the ids of its candidates and their scores by the first stage, best first.
    :param texts: Texts of the candidates, by id.
    :param qrels: The judgements.
    """

    name: str
    queries: dict[str, str]
    candidates: dict[str, dict[str, float]]
    texts: dict[str, str]
    qrels: dict[str, dict[str, int]]


def read_candidates(options: argparse.Namespace, name: str) -> Judged:
    """Return the candidates of a collection's first judged queries, kept in a file."""
    split, queries, depth = options.split, options.queries, options.candidates
    file = options.work / ("hybrid" if options.hybrid else "candidates") / f"{name}-{split}-{queries}x{depth}.json"
    if not file.exists():
        collection = Collection(name, BeirDataset(options.collections / name), split)
        known, qrels = collection.judged(lang="all")
        chosen = [query for id_, query in known.items() if any(grade > 0 for grade in qrels[id_].values())][:queries]
        stage = FirstStageSpec("bm25", language=SUITE.get(name, "en")).open(collection)
        texts = {document.id: document.full_text for document in collection.dataset.documents()}
        if options.hybrid:
            found = {query.id: [id_ for id_, _ in stage.find(query, RETRIEVED)] for query in chosen}
            candidates = hybrid_candidates(found, {query.id: query.text for query in chosen}, texts, depth)
        else:
            candidates = {query.id: dict(stage.find(query, depth)) for query in chosen}
        needed = {id_ for scores in candidates.values() for id_ in scores}
        with replace_file(file) as stream:
            json.dump(
                {
                    "queries": {query.id: query.text for query in chosen},
                    "candidates": candidates,
                    "texts": {id_: text for id_, text in texts.items() if id_ in needed},
                    "qrels": {query.id: qrels[query.id] for query in chosen},
                },
                stream,
                ensure_ascii=False,
            )
    return Judged(name, **json.loads(file.read_text(encoding="utf-8")))


def hybrid_candidates(
    bm25: Mapping[str, Sequence[str]], queries: Mapping[str, str], texts: Mapping[str, str], depth: int
) -> dict[str, dict[str, float]]:
    """Fuse BM25's rankings with those of the packaged bi-encoder over all texts; return the best candidates with their scores."""
    encode, ids = bi_encoder(), list(texts)
    passages, vectors = encode(list(texts.values())), encode(list(queries.values()))
    fused = {}
    for (id_, found), query in zip(bm25.items(), vectors, strict=True):
        nearest = [ids[place] for place in np.argsort(-(passages @ query), kind="stable")[:RETRIEVED]]
        scores = rank_fusion(found, nearest)
        fused[id_] = dict(sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:depth])
    return fused


def rank_fusion(*rankings: Sequence[str]) -> dict[str, float]:
    """Return the sums of reciprocal ranks."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, document in enumerate(ranking, start=1):
            scores[document] = scores.get(document, 0.0) + 1 / (RRF_CONSTANT + rank)
    return scores


def kept(file: Path, compute: Callable[[], dict[str, list[float]]]) -> dict[str, list[float]]:
    """Return scores by query from a file, which is written if it is not there."""
    if not file.exists():
        scores = compute()
        with replace_file(file) as stream:
            json.dump(scores, stream)
    result: dict[str, list[float]] = json.loads(file.read_text(encoding="utf-8"))
    return result


def logits(model: str, judged: Judged) -> dict[str, list[float]]:
    """Score the candidates with a cross-encoder."""
    ranker = CrossEncoderRanker(model=model, calibration="none")
    ranker.warm_up()
    texts = judged.texts
    scores = {
        id_: [
            round(float(score), 5)
            for score in ranker.logits(query, [texts[document] for document in judged.candidates[id_]])
        ]
        for id_, query in judged.queries.items()
        if judged.candidates[id_]
    }
    ranker.close()
    return scores


def bi_encoder() -> Callable[[Sequence[str]], Any]:
    """Return the packaged bi-encoder: texts become unit vectors."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(packaged_model(PACKAGED_MODEL)), device="cpu")
    return partial(model.encode, normalize_embeddings=True, show_progress_bar=False)


def cosines(judged: Judged) -> dict[str, list[float]]:
    """Score the candidates with the packaged bi-encoder."""
    encode = bi_encoder()
    at = {id_: position for position, id_ in enumerate(judged.texts)}
    passages, queries = encode(list(judged.texts.values())), encode(list(judged.queries.values()))
    return {
        id_: [float(passages[at[document]] @ query) for document in judged.candidates[id_]]
        for id_, query in zip(judged.queries, queries, strict=True)
    }


def rankings(
    judged: Judged,
    dense_scores: Mapping[str, list[float]] | None,
    models: Mapping[str, Mapping[str, list[float]]],
    blend: FusionSetting,
) -> Any:
    """Return the ranking of each system by query; without scores of a bi-encoder there is no rank fusion."""
    systems: dict[str, dict[str, dict[str, float]]] = {}
    for id_, first in judged.candidates.items():
        if not first:
            for ranking in systems.values():
                ranking[id_] = {}
            continue
        ids = list(first)
        first_scores = np.array(list(first.values()))
        own = {FIRST: first}
        if dense_scores is not None:
            nearest = [ids[place] for place in np.argsort(-np.array(dense_scores[id_]), kind="stable")]
            own[RRF] = rank_fusion(ids, nearest)
        for name, scores in models.items():
            scored = ScoredCandidates(
                ids, first_scores, np.array(scores[id_], dtype=np.float32), np.argsort(np.argsort(ids))
            )
            own[name] = scored.ranking(len(ids))
            own[f"{name}, blended"] = scored.ranking(len(ids), blend)
        for name, ranking in own.items():
            systems.setdefault(name, {})[id_] = ranking
    return systems


def measure(options: argparse.Namespace) -> dict[str, dict[str, Evaluation]]:
    """Return the evaluation of each system on each collection."""
    results = {}
    for name in options.only or SUITE:
        judged = read_candidates(options, name)
        stage = "hybrid-" if options.hybrid else ""
        size = f"{stage}{name}-{options.split}-{options.queries}x{options.candidates}.json"
        models = {}
        for label, model in options.models.items():
            file = options.work / "scores" / fingerprint_model(model)[:16] / size
            models[label] = kept(file, partial(logits, model, judged))
        dense = None
        if not options.hybrid:
            dense = kept(options.work / "scores" / "all-MiniLM-L6-v2" / size, partial(cosines, judged))
        runs = rankings(judged, dense, models, HYBRID_BLEND if options.hybrid else BLEND)
        results[name] = {system: evaluate(run, judged.qrels, [NDCG]) for system, run in runs.items()}
        print(name, " ".join(f"{system} {e.means[NDCG]:.3f}" for system, e in results[name].items()), flush=True)
    return results


def show(results: Mapping[str, Mapping[str, Evaluation]], models: Sequence[str]) -> None:
    """Print the means, and each model against the better of first stage and rank fusion on every collection."""
    systems = list(next(iter(results.values())))
    print(f"\nnDCG@10\n\n| collection | queries | {' | '.join(systems)} |\n| --- | ---: |{' ---: |' * len(systems)}")
    for name, evaluations in results.items():
        means = [f"{evaluations[system].means[NDCG]:.3f}" for system in systems]
        print(f"| {name} | {len(evaluations[FIRST].per_query[NDCG])} | {' | '.join(means)} |")
    overall = [np.mean([evaluations[system].means[NDCG] for evaluations in results.values()]) for system in systems]
    print(f"| mean | | {' | '.join(f'{mean:.3f}' for mean in overall)} |")
    for model in [system for system in systems if system not in (FIRST, RRF)]:
        print(f"\n{model}, against the better of {FIRST} and {RRF}; p of a paired randomisation test\n")
        print("| collection | | difference | p | wins, losses |\n| --- | --- | ---: | ---: | ---: |")
        rows = {name: against_better(evaluations, model) for name, evaluations in results.items()}
        for name, row in rows.items():
            interval = f"[{row.interval[0]:+.3f}, {row.interval[1]:+.3f}]"
            print(f"| {name} | {row.baseline} | {row.mean:+.3f} {interval} | {row.p:.4f} | {row.wins}, {row.losses} |")
        worst = min(rows, key=lambda name: rows[name].mean)
        print(f"\nmean {np.mean([row.mean for row in rows.values()]):+.3f}, worst {worst} {rows[worst].mean:+.3f}")
    if len(models) > 1:
        between(results, models)


def between(results: Mapping[str, Mapping[str, Evaluation]], models: Sequence[str]) -> None:
    """Print each further model against the first one, over the queries of all collections."""
    for model in models[1:]:
        merged = {
            system: Evaluation(
                {
                    NDCG: {
                        f"{name} {query}": value
                        for name, evaluations in results.items()
                        for query, value in evaluations[system].per_query[NDCG].items()
                    }
                }
            )
            for system in (models[0], model)
        }
        row = compare_evaluations(merged, [(models[0], model)]).between(models[0], model, NDCG)
        interval = f"[{row.interval[0]:+.3f}, {row.interval[1]:+.3f}]"
        print(f"\n{model} against {models[0]}, all queries: {row.mean:+.4f} {interval}, p {row.p:.4f}")


def against_better(evaluations: Mapping[str, Evaluation], model: str) -> Difference:
    """Compare a model with the better of first stage and rank fusion."""
    better = max(
        (system for system in (FIRST, RRF) if system in evaluations), key=lambda system: evaluations[system].means[NDCG]
    )
    return compare_evaluations(evaluations, [(better, model)]).between(better, model, NDCG)


def named(text: str) -> tuple[str, str]:
    """Read MODEL or NAME=MODEL."""
    name, equals, model = text.partition("=")
    return (name, model) if equals else (Path(text).name, text)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("model", nargs="*")
    parser.add_argument("--queries", type=int, default=60, help="the first judged queries of each collection")
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--split", default=SPLIT)
    parser.add_argument("--hybrid", action="store_true", help="behind hybrid search; English collections only")
    parser.add_argument("--only", nargs="+", help="only these collections")
    options = parser.parse_args()
    options.models = dict(map(named, options.model))
    show(measure(options), list(options.models))


if __name__ == "__main__":
    main()
