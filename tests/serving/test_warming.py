from rerank_plugin.components.config import RankerConfig
from rerank_plugin.components.reranker import Reranker
from rerank_plugin.serving.warming import prepare


def test_the_speed_of_a_prepared_model_is_known(cross_encoder):
    """Otherwise the first requests would all be let in, and served as they come."""
    reranker = Reranker(RankerConfig(model=str(cross_encoder), backend="torch"))
    assert reranker.expected_seconds("fox", ["a text"]) == 0
    prepare(reranker.logits)
    one = reranker.expected_seconds("fox", ["a text"])
    assert 0 < one < reranker.expected_seconds("fox", ["a text"] * 1000)
