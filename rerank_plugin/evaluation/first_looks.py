"""What a model's early-exit network says of candidates, which its rule is fitted on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from haystack import Document
from numpy.typing import NDArray

from rerank_plugin.components.inputs import passage_of
from rerank_plugin.components.ranker import CrossEncoderRanker
from rerank_plugin.scoring.early_exit import FILE_NAME
from rerank_plugin.scoring.loading.location import fetch, locate
from rerank_plugin.scoring.scorer import load_first_look, load_scorer

if TYPE_CHECKING:
    from rerank_plugin.scoring.scorer import PairScorer


class FirstLooks:
    """
    The early-exit network of a ranker's model.

    :param ranker: The ranker.
    :param scorer: Its early-exit network.
    """

    def __init__(self, ranker: CrossEncoderRanker, scorer: "PairScorer") -> None:
        self._config, self._scorer = ranker.config, scorer

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self | None:
        """
        Load the early-exit network.

        :param parameters: The parameters of a `CrossEncoderRanker`, as its YAML has them.
        :returns: `None` if its model has none.
        """
        name = f"{CrossEncoderRanker.__module__}.{CrossEncoderRanker.__name__}"
        ranker = CrossEncoderRanker.from_dict({"type": name, "init_parameters": dict(parameters)})
        spec, settings = ranker.config.model_spec(), ranker.config.scorer_settings()
        if not (fetch(locate(spec)) / FILE_NAME).is_file():
            return None
        return cls(ranker, load_first_look(spec, settings, load_scorer(spec, settings)))

    def logits(self, query: str, documents: Sequence[Document]) -> NDArray[np.float32]:
        """Return its logits of candidates, shape (documents,)."""
        config = self._config
        texts = [passage_of(document, config) for document in documents]
        return self._scorer.logits(config.query_prefix + query + config.query_suffix, texts)
