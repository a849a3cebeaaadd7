"""The second stage as a Haystack component."""

import asyncio
import inspect
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import ComponentDevice, Secret
from haystack.utils.hf import deserialize_hf_model_kwargs, serialize_hf_model_kwargs

from rerank_plugin.components.config import check_settings
from rerank_plugin.components.reranker import Overrides, Reranking
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL


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
    :param scale_score: `True`: scores are probabilities (sigmoid of the logit, calibrated if there is a calibration).
        `False`: scores are the logits.
    :param score_threshold: Leave out documents that the cross-encoder scores below this. `None` keeps all.
    :param trust_remote_code: Run code that comes with the model.
    :param model_kwargs: For `AutoModelForSequenceClassification.from_pretrained`.
    :param tokenizer_kwargs: For `AutoTokenizer.from_pretrained`.
    :param config_kwargs: For `AutoConfig.from_pretrained`.
    :param backend: `auto` (OpenVINO on a CPU, torch elsewhere), `torch`, `openvino` or `onnx` (needs the extra `onnx`).
    :param batch_size: Most pairs that are scored at once; `None`: as many as `max_batch_tokens` lets in.
    :param max_batch_tokens: Most tokens that are scored at once, padding included: it bounds the memory of long passages.
        `None`: what is fastest on the backend.
    :param precision: `auto` (bf16 in OpenVINO where the CPU has it, fp16 on a GPU, else fp32), `fp32`, `bf16`, `fp16`
        (torch), or `int8` (OpenVINO and ONNX, with the extra `int8`).
    :param num_threads: Threads of the model; `None`: one for each processor that the process may use.
    :param torch_compile: Compile the model, with the torch backend.
    :param max_length: Most tokens of query and passage together; `None`: as many as the model reads.
    :param window_aggregation: How the windows of a passage that is too long make one score: `max`, `mean_top_k`, or `first`;
        `truncate` cuts the passage as the stock ranker does. `meta["window"]` says which characters of the content decided.
    :param window_overlap: Tokens that neighbouring windows share (the "stride" of tokenizers).
    :param window_top_k: Windows that `mean_top_k` takes the mean of.
    :param calibration: `auto`: the calibration in the model's folder, if there is one; `none`; or the file that
        `rerank calibrate` wrote.
    :param score_cache: Remember scores in `memory` or in an SQLite file. `None`: score anew each time.
    :param score_cache_size: Most scores that are remembered.
    :param time_budget_ms: Milliseconds for a call. Candidates that it leaves unscored come last, in first-stage order and
        without a score, marked by `meta["reranked"] = False`. `None`: take as long as it takes.
    :param on_error: `raise`, or `keep_order`: if scoring fails, return the candidates as the first stage ranked them.
    :param fusion: Rank by both stages: `none`, `rrf` or `linear` (see `scoring.fusion`). The cross-encoder's own score is
        then in `meta["second_stage_score"]`.
    :param fusion_weight: Weight of the second stage, 0 to 1; `None`: the calibration's, or else 0.5.
    :param adaptive_depth: Stop when, with this confidence (0 to 1), a document of the full result is among those found: the
        remaining candidates are too deep to enter it. Needs a calibration. `None`: score all.
    :param early_exit: Score all candidates with the first layers only, and this many of them with all layers. Needs a model
        with an early-exit head. `None`: score all with all layers.
    :raises InvalidValueError: If a value is none of those described.
    """

    def __init__(  # noqa: PLR0913 - the parameters of the component that this one replaces, and its own
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
        batch_size: int | None = None,
        max_batch_tokens: int | None = None,
        precision: str = "auto",
        num_threads: int | None = None,
        torch_compile: bool = False,
        max_length: int | None = None,
        window_aggregation: str = "max",
        window_overlap: int = 64,
        window_top_k: int = 3,
        calibration: str | Path = "auto",
        score_cache: str | Path | None = None,
        score_cache_size: int = 100_000,
        time_budget_ms: float | None = None,
        on_error: str = "raise",
        fusion: str = "none",
        fusion_weight: float | None = None,
        adaptive_depth: float | None = None,
        early_exit: int | None = None,
    ) -> None:
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
        self.precision = precision
        self.num_threads = num_threads
        self.torch_compile = torch_compile
        self.max_length = max_length
        self.window_aggregation = window_aggregation
        self.window_overlap = window_overlap
        self.window_top_k = window_top_k
        self.calibration = str(calibration)
        self.score_cache = None if score_cache is None else str(score_cache)
        self.score_cache_size = score_cache_size
        self.time_budget_ms = time_budget_ms
        self.on_error = on_error
        self.fusion = fusion
        self.fusion_weight = fusion_weight
        self.adaptive_depth = adaptive_depth
        self.early_exit = early_exit
        check_settings(self)
        self._reranking = Reranking(self)
        self._executor: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """
        Load the model; a second call does nothing. With `on_error="keep_order"` a model that cannot be loaded is a warning.

        :raises ModelError: If the model cannot be found or is no cross-encoder.
        :raises InvalidValueError: If the backend is unknown, does not run on the device or does not have the precision.
        """
        self._reranking.warm_up()

    def close(self) -> None:
        """Let the model go. A later `run` loads it again."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(cancel_futures=True)
        self._reranking.close()

    @component.output_types(documents=list[Document], status=dict[str, Any])
    def run(
        self,
        *,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        scale_score: bool | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, Any]:
        """
        Rank documents by how well they answer the query.

        Documents that share an id count once: the one with the highest score stays. `None` as content counts as empty.

        :param query: The query.
        :param documents: The candidates, in first-stage order.
        :param top_k: Most documents to return; `None` means as configured.
        :param scale_score: Probabilities or logits; `None` means as configured.
        :param score_threshold: Lowest score to return; `None` means as configured.
        :returns: `documents`: copies, best first; equal scores are ordered by id. `status`: how the answer came about:
            `state` (`complete`; `partial`: the time budget left candidates unscored; `fallback`: scoring failed, the
            order is the first stage's), `candidates`, `scored`, `stopped_by` (`deadline`, `depth`, `early_exit` or `None`),
            `cached` (scores from the cache), `milliseconds`, `backend` (such as `openvino bf16`) and `error`.
        :raises InvalidValueError: If the query is empty, `top_k` is below 1, or a score is missing that `fusion` reads.
        :raises ModelError: If the model cannot be loaded or is no cross-encoder.
        """
        overrides = Overrides(top_k, scale_score, score_threshold)
        return self._reranking.answer([query], [documents], overrides, began=time.perf_counter())[0]

    @component.output_types(documents=list[Document], status=dict[str, Any])
    async def run_async(
        self,
        *,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        scale_score: bool | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, Any]:
        """
        Rank documents without blocking the event loop.

        The scoring runs in a thread of the ranker's own, one call after the other: each uses all cores. The time that a call
        waits counts towards its time budget. A call that is cancelled stops before its next batch.

        :param query: See `run`.
        :param documents: See `run`.
        :param top_k: See `run`.
        :param scale_score: See `run`.
        :param score_threshold: See `run`.
        :returns: See `run`.
        :raises InvalidValueError: See `run`.
        :raises ModelError: See `run`.
        """
        overrides = Overrides(top_k, scale_score, score_threshold)
        cancelled = threading.Event()
        answer = partial(
            self._reranking.answer,
            [query],
            [documents],
            overrides,
            began=time.perf_counter(),
            should_stop=cancelled.is_set,
        )
        try:
            return (await asyncio.get_running_loop().run_in_executor(self._own_thread(), answer))[0]
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def rank_many(
        self,
        queries: Sequence[str],
        documents: Sequence[list[Document]],
        *,
        top_k: int | None = None,
        scale_score: bool | None = None,
        score_threshold: float | None = None,
    ) -> list[dict[str, Any]]:
        """
        Rank the candidates of several queries; their pairs share batches.

        :param queries: The queries.
        :param documents: For each query its candidates, in first-stage order.
        :param top_k: See `run`.
        :param scale_score: See `run`.
        :param score_threshold: See `run`.
        :returns: For each query what `run` would return; `milliseconds` and `cached` are those of the whole call.
        :raises InvalidValueError: See `run`; or if there are not as many lists of documents as queries.
        :raises ModelError: See `run`.
        """
        if len(queries) != len(documents):
            raise InvalidValueError(f"rank_many got {len(queries)} queries and {len(documents)} lists of documents")
        overrides = Overrides(top_k, scale_score, score_threshold)
        return self._reranking.answer(queries, documents, overrides, began=time.perf_counter())

    def logits(self, query: str, passages: Sequence[str]) -> list[float]:
        """
        Score texts as they are, all of them: no ranking, fusion or time budget.

        :param query: The query.
        :param passages: The texts; prefixes and suffixes are put around them.
        :returns: The logit of each text, in order.
        :raises ModelError: If the model cannot be loaded or is no cross-encoder.
        """
        return self._reranking.logits(query, passages)

    def to_dict(self) -> dict[str, Any]:
        """Return type and init parameters, as Haystack's YAML wants them."""
        values = {name: getattr(self, name) for name in inspect.signature(type(self).__init__).parameters if name != "self"}
        values["device"] = self.device.to_dict() if self.device else None
        if self.model_kwargs is not None:
            values["model_kwargs"] = dict(self.model_kwargs)
            serialize_hf_model_kwargs(values["model_kwargs"])
        return default_to_dict(self, **values)

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

    def _own_thread(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rerank")
            return self._executor
