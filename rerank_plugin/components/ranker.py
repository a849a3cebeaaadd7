"""The second stage as a Haystack component."""

import asyncio
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import ComponentDevice, Secret
from haystack.utils.hf import deserialize_hf_model_kwargs, serialize_hf_model_kwargs

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.models import DEFAULT_MODEL, ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rerank_plugin.scoring.scorer import PairScorer

FIRST_STAGE_SCORE = "first_stage_score"
FIRST_STAGE_RANK = "first_stage_rank"


@component
class CrossEncoderRanker:
    """
    Ranks documents by how well they answer the query, with a cross-encoder.

    A drop-in for Haystack's `SentenceTransformersSimilarityRanker`: the parameters have the same names and meanings.
    Documents come back as copies: `score` is the ranker's; `meta["first_stage_score"]` and `meta["first_stage_rank"]`
    (from 1) are what the document came with.

    ```python
    from haystack import Document
    from rerank_plugin import CrossEncoderRanker

    ranker = CrossEncoderRanker()
    documents = [Document(content="Paris is in France."), Document(content="Berlin is in Germany.")]
    ranker.run(query="city in Germany", documents=documents)["documents"][0].content
    ```

    :param model: A bundled name, a folder, or a Hub id. Default: the bundled English model.
    :param device: Where the model runs. `None` takes the best that is there.
    :param token: Access token for private models of the Hub; read at `warm_up`.
    :param top_k: Most documents to return.
    :param query_prefix: Put before the query, as instruction-tuned models want it.
    :param query_suffix: Put behind the query.
    :param document_prefix: Put before each passage.
    :param document_suffix: Put behind each passage.
    :param meta_fields_to_embed: Metadata fields that are put before the content, `title` for example.
    :param embedding_separator: Stands between these fields and the content.
    :param scale_score: `True`: scores are probabilities (sigmoid of the logit). `False`: scores are the logits.
    :param score_threshold: Leave out documents with a score below this. `None` keeps all.
    :param trust_remote_code: Run code that comes with the model.
    :param model_kwargs: For `AutoModelForSequenceClassification.from_pretrained`.
    :param tokenizer_kwargs: For `AutoTokenizer.from_pretrained`.
    :param config_kwargs: For `AutoConfig.from_pretrained`.
    :param backend: `auto` (OpenVINO on a CPU, torch elsewhere), `torch`, `openvino`
        or `onnx` (needs the extra `onnx`).
    :param batch_size: Most pairs that are scored at once.
    :param max_batch_tokens: Most tokens that are scored at once, padding included: it bounds the memory of long passages.
    :raises InvalidValueError: If `top_k`, `batch_size` or `max_batch_tokens` is below 1.
    """

    def __init__(  # noqa: PLR0913 - the parameters of the component that this one replaces
        self,
        *,
        model: str | Path = DEFAULT_MODEL,
        device: ComponentDevice | None = None,
        token: Secret | None = Secret.from_env_var(["HF_API_TOKEN", "HF_TOKEN"], strict=False),  # noqa: B008 - immutable
        top_k: int = 10,
        query_prefix: str = "",
        query_suffix: str = "",
        document_prefix: str = "",
        document_suffix: str = "",
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        scale_score: bool = True,
        score_threshold: float | None = None,
        trust_remote_code: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        tokenizer_kwargs: dict[str, Any] | None = None,
        config_kwargs: dict[str, Any] | None = None,
        backend: str = "auto",
        batch_size: int = 16,
        max_batch_tokens: int = 8192,
    ) -> None:
        for name, value in (("top_k", top_k), ("batch_size", batch_size), ("max_batch_tokens", max_batch_tokens)):
            _check_positive(name, value)
        self.model = str(model)
        self.device = device
        self.token = token
        self.top_k = top_k
        self.query_prefix = query_prefix
        self.query_suffix = query_suffix
        self.document_prefix = document_prefix
        self.document_suffix = document_suffix
        self.meta_fields_to_embed = list(meta_fields_to_embed or [])
        self.embedding_separator = embedding_separator
        self.scale_score = scale_score
        self.score_threshold = score_threshold
        self.trust_remote_code = trust_remote_code
        self.model_kwargs = model_kwargs
        self.tokenizer_kwargs = tokenizer_kwargs
        self.config_kwargs = config_kwargs
        self.backend = backend
        self.batch_size = batch_size
        self.max_batch_tokens = max_batch_tokens
        self._scorer: PairScorer | None = None

    def warm_up(self) -> None:
        """
        Load the model; a second call does nothing.

        :raises ModelError: If the model cannot be found or is no cross-encoder.
        :raises InvalidValueError: If the backend is unknown or does not run on the device.
        """
        self._warm_scorer()

    def _warm_scorer(self) -> "PairScorer":
        if self._scorer is None:
            from rerank_plugin.scoring.scorer import load_scorer

            spec = ModelSpec(
                model=self.model,
                device=ComponentDevice.resolve_device(self.device).to_torch_str(),
                token=self.token.resolve_value() if self.token else None,
                trust_remote_code=self.trust_remote_code,
                model_kwargs=self.model_kwargs,
                tokenizer_kwargs=self.tokenizer_kwargs,
                config_kwargs=self.config_kwargs,
            )
            self._scorer = load_scorer(
                spec, backend=self.backend, max_batch_tokens=self.max_batch_tokens, max_batch_pairs=self.batch_size
            )
        return self._scorer

    def close(self) -> None:
        """Let the model go. A later `run` loads it again."""
        self._scorer = None

    @component.output_types(documents=list[Document])
    def run(
        self,
        *,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        scale_score: bool | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, list[Document]]:
        """
        Rank documents by how well they answer the query.

        Documents that share an id count once: the one with the highest score stays. `None` as content counts as empty.

        :param query: The query.
        :param documents: The candidates, in first-stage order.
        :param top_k: Most documents to return; `None` means as configured.
        :param scale_score: Probabilities or logits; `None` means as configured.
        :param score_threshold: Lowest score to return; `None` means as configured.
        :returns: `documents`: copies, best first; equal scores are ordered by id.
        :raises InvalidValueError: If the query is empty or `top_k` is below 1.
        :raises ModelError: If the model cannot be loaded or is no cross-encoder.
        """
        if not query.strip():
            raise InvalidValueError("query is empty: pass the text to rank by")
        top_k = self.top_k if top_k is None else top_k
        scale_score = self.scale_score if scale_score is None else scale_score
        score_threshold = self.score_threshold if score_threshold is None else score_threshold
        _check_positive("top_k", top_k)
        if not documents:
            return {"documents": []}

        candidates = _deduplicate(documents)
        logits = self._warm_scorer().logits(
            self.query_prefix + query + self.query_suffix, [self._passage(document) for document in candidates]
        )
        ranked = _ranked(candidates, logits.tolist(), _scores(logits, scale_score=scale_score))
        if score_threshold is not None:
            ranked = [document for document in ranked if (document.score or 0.0) >= score_threshold]
        return {"documents": ranked[:top_k]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        *,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        scale_score: bool | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, list[Document]]:
        """
        Rank documents without blocking the event loop: the scoring runs in a thread.

        :param query: See `run`.
        :param documents: See `run`.
        :param top_k: See `run`.
        :param scale_score: See `run`.
        :param score_threshold: See `run`.
        :returns: See `run`.
        :raises InvalidValueError: See `run`.
        :raises ModelError: See `run`.
        """
        result: dict[str, list[Document]] = await asyncio.to_thread(
            self.run,
            query=query,
            documents=documents,
            top_k=top_k,
            scale_score=scale_score,
            score_threshold=score_threshold,
        )
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return type and init parameters, as Haystack's YAML wants them."""
        data = default_to_dict(
            self,
            model=self.model,
            device=self.device.to_dict() if self.device else None,
            token=self.token,
            top_k=self.top_k,
            query_prefix=self.query_prefix,
            query_suffix=self.query_suffix,
            document_prefix=self.document_prefix,
            document_suffix=self.document_suffix,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
            scale_score=self.scale_score,
            score_threshold=self.score_threshold,
            trust_remote_code=self.trust_remote_code,
            model_kwargs=dict(self.model_kwargs) if self.model_kwargs is not None else None,
            tokenizer_kwargs=self.tokenizer_kwargs,
            config_kwargs=self.config_kwargs,
            backend=self.backend,
            batch_size=self.batch_size,
            max_batch_tokens=self.max_batch_tokens,
        )
        if data["init_parameters"]["model_kwargs"] is not None:
            serialize_hf_model_kwargs(data["init_parameters"]["model_kwargs"])
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "CrossEncoderRanker":
        """
        Make the component from what `to_dict` returned, or what a YAML says.

        :param data: `type` and `init_parameters`.
        :returns: The component.
        """
        parameters = data.get("init_parameters", {})
        if parameters.get("model_kwargs") is not None:
            deserialize_hf_model_kwargs(parameters["model_kwargs"])
        return default_from_dict(cls, data)

    def _passage(self, document: Document) -> str:
        fields = [str(document.meta[name]) for name in self.meta_fields_to_embed if document.meta.get(name) is not None]
        text = self.embedding_separator.join([*fields, document.content or ""])
        return self.document_prefix + text + self.document_suffix


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise InvalidValueError(f"{name} must be at least 1, got {value}")


def _deduplicate(documents: list[Document]) -> list[Document]:
    """Keep of each id the document with the highest score, in the place of the first."""
    best: dict[str, Document] = {}
    for document in documents:
        kept = best.get(document.id)
        if kept is None or _score_or_least(document) > _score_or_least(kept):
            best[document.id] = document
    return list(best.values())


def _score_or_least(document: Document) -> float:
    return -inf if document.score is None else document.score


def _scores(logits: "NDArray[np.float32]", *, scale_score: bool) -> list[float]:
    from rerank_plugin.scoring.activation import sigmoid

    scores: list[float] = (sigmoid(logits) if scale_score else logits).tolist()
    return scores


def _ranked(documents: list[Document], logits: list[float], scores: list[float]) -> list[Document]:
    # Ordered by logit, not by score: two large logits can share one probability.
    order = sorted(range(len(documents)), key=lambda i: (-logits[i], documents[i].id))
    return [
        replace(
            documents[i],
            score=scores[i],
            meta={**documents[i].meta, FIRST_STAGE_SCORE: documents[i].score, FIRST_STAGE_RANK: i + 1},
        )
        for i in order
    ]
