"""Depth curves and sweeps: their values for fewer candidates are those of the pipeline with fewer candidates."""

import numpy as np
import pytest
from haystack import Document
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin.components.ranking import RankingRules, rank_documents
from rerank_plugin.evaluation import evaluate
from rerank_plugin.evaluation.candidates import FusionSetting, scored_candidates
from rerank_plugin.evaluation.curves import depth_curves, pipelines_without_curve
from rerank_plugin.evaluation.experiment import Experiment, ExperimentSettings
from rerank_plugin.evaluation.stages import split_stages
from rerank_plugin.pipelines import build_pipeline, read_pipeline
from rerank_plugin.scoring.calibration import Calibration
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL
from rerank_plugin.scoring.second_stage import Scored
from rerank_plugin.search import Searcher
from rerank_plugin.store import HybridDocumentStore

QUERIES = {"q1": "capital of france", "q2": "red fox sea", "q3": "coffee tea sun", "q4": "where are the books"}
WORDS = (
    "paris capital france fox red dog sky blue sea coffee tea moon earth sun library books river mountain is the of".split()
)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Documents of several passages each, some passages twice."""
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("curves") / "index"
    with_store = HybridDocumentStore(folder)
    texts = [" ".join(rng.choice(WORDS, size=int(rng.integers(4, 12)))) for _ in range(40)]
    texts += texts[:5]
    with_store.write_documents(
        [Document(id=f"p{i:02}", content=text, meta={"doc_id": f"d{i % 15}"}) for i, text in enumerate(texts)]
    )
    with_store.close()
    return folder


QRELS = {query: {f"d{(i * 4 + j) % 15}": j + 1 for j in range(3)} for i, query in enumerate(QUERIES)}


def staged(index, cross_encoder, **ranker):
    data = read_pipeline("bm25_rerank", index=index)
    data["components"]["ranker"]["init_parameters"] = {"model": str(cross_encoder), "precision": "fp32", **ranker}
    return data


@pytest.mark.slow
@pytest.mark.parametrize(
    "fusion", [{}, {"fusion": "linear", "fusion_weight": 0.4}, {"fusion": "rrf"}, {"fusion": "log_linear"}]
)
def test_l12_a_depth_curve_is_what_the_pipeline_gives_at_each_depth(index, cross_encoder, fusion):
    data = staged(index, cross_encoder, **fusion)
    outcomes = Experiment(ExperimentSettings(30)).run([split_stages("p", data)], QUERIES)
    (curve,) = depth_curves(outcomes, QRELS, measure="nDCG@10", candidates=30)
    assert curve.depths == [5, 10, 20, 30]
    searcher = Searcher(build_pipeline(data, name="p"), until="ranked")
    for depth, value in zip(curve.depths, curve.reranked, strict=True):
        run = {
            id_: [hit.document for hit in searcher.search(text, top_k=depth, candidates=depth).hits]
            for id_, text in QUERIES.items()
        }
        assert evaluate(run, QRELS, ["nDCG@10"]).means["nDCG@10"] == pytest.approx(value, abs=1e-9)
    assert pipelines_without_curve(outcomes) == []


@pytest.mark.parametrize("limit", [{"score_threshold": 0.4}, {"time_budget_ms": 60_000}])
def test_l12_there_is_no_curve_if_smaller_depths_cannot_be_derived(index, cross_encoder, limit):
    outcomes = Experiment(ExperimentSettings(12)).run([split_stages("p", staged(index, cross_encoder, **limit))], QUERIES)
    assert depth_curves(outcomes, QRELS, measure="nDCG@10", candidates=12) == []
    assert pipelines_without_curve(outcomes) == ["p"]


STOCK = (
    "haystack_integrations.components.rankers.sentence_transformers.sentence_transformers_similarity"
    ".SentenceTransformersSimilarityRanker"
)


@pytest.mark.slow
def test_l12_the_stock_ranker_has_a_depth_curve(index, cross_encoder):
    data = staged(index, cross_encoder)
    data["components"]["ranker"] = {"type": STOCK, "init_parameters": {"model": str(cross_encoder)}}
    outcomes = Experiment(ExperimentSettings(12)).run([split_stages("p", data)], QUERIES)
    assert [curve.depths for curve in depth_curves(outcomes, QRELS, measure="nDCG@10", candidates=12)] == [[5, 10, 12]]
    assert pipelines_without_curve(outcomes) == []


# Few values, so that ties are frequent.
SCORES = st.sampled_from([-1.0, 0.0, 0.5, 0.5, 2.0])


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), SCORES, SCORES), min_size=1, max_size=12),
    st.integers(1, 12),
    st.sampled_from(
        [FusionSetting(), FusionSetting("rrf", 0.5), FusionSetting("linear", 0.3), FusionSetting("linear", 1.0)]
    ),
    st.randoms(use_true_random=False),
)
def test_l12_candidates_rank_as_the_component_does(rows, depth, fusion, rng):
    ids = [f"p{i}" for i in range(len(rows))]
    rng.shuffle(ids)
    documents = [
        Document(id=id_, content="x", score=first, meta={"doc_id": name})
        for id_, (name, first, _) in zip(ids, rows, strict=True)
    ]
    logits = np.array([logit for _, _, logit in rows], dtype=np.float32)

    def component(depth):
        part = Scored(logits[:depth], [None] * len(logits[:depth]), np.zeros(len(logits[:depth]), dtype=bool))
        rules = RankingRules(100, False, None, fusion.method, fusion.weight, Calibration())
        return rank_documents(documents[:depth], part, rules)

    table = scored_candidates(documents, component(len(documents)), fusion)
    expected = list(dict.fromkeys(document.meta["doc_id"] for document in component(depth)))
    assert list(table.ranking(depth)) == expected


@pytest.mark.slow
def test_l12_a_sweep_over_a_joiner_says_what_each_retriever_returns(
    rerank, collection, repository, cross_encoder, bi_encoder, tmp_path, monkeypatch
):
    """Depths of a hybrid first stage are cuts of the joined list: fewer hits per retriever would give a different list."""
    import json

    from rerank_plugin.indexing import index_paths

    monkeypatch.setenv("RERANK_PLUGIN_CACHE", str(tmp_path / "cache"))
    text = (repository / "pipelines" / "hybrid_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(cross_encoder))
    (tmp_path / "tiny.yaml").write_text(text)
    options = ["--embedding-model", bi_encoder, "--grid", "candidates=3,8", "--grid", "precision=fp32"]
    done = rerank(
        *("eval", collection, "--sweep", "--pipeline", tmp_path / "tiny.yaml", "--output", tmp_path / "out", "--json"),
        *(*options, "--grid", "windows=max", "--grid", "fusion=none,rrf:0.5"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["retrieved"] == 8
    index_paths([collection], tmp_path / "index", pipeline="indexing", embedding_model=str(bi_encoder))
    queries = [json.loads(line) for line in (collection / "queries.jsonl").read_text().splitlines()]
    qrels = {"q1": {"d0": 1}, "q2": {"d2": 1}, "q3": {"d4": 1}, "q4": {"d6": 1}}
    for point in result["tried"]:
        if point["ranker"] is None:
            continue
        data = read_pipeline(tmp_path / "tiny.yaml", index=tmp_path / "index", embedding_model=str(bi_encoder))
        for name, component in data["components"].items():
            if name.endswith("retriever"):
                component["init_parameters"]["top_k"] = result["retrieved"]
        data["components"]["joiner"]["init_parameters"]["top_k"] = point["candidates"]
        data["components"]["ranker"]["init_parameters"].update(point["ranker"], top_k=10)
        searcher = Searcher(build_pipeline(data, name="tiny"), until="ranked")
        run = {q["_id"]: [hit.document for hit in searcher.search(q["text"]).hits] for q in queries}
        assert evaluate(run, qrels, ["nDCG@10"]).means["nDCG@10"] == pytest.approx(point["quality"], abs=1e-6)
