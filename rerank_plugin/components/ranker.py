"""The second stage as a Haystack component."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import ComponentDevice, Secret
from haystack.utils.hf import deserialize_hf_model_kwargs

from rerank_plugin.components.answers import Answer
from rerank_plugin.components.config import PARAMETERS, RankerConfig
from rerank_plugin.components.inputs import Overrides, check_queries
from rerank_plugin.components.reranker import Reranker
from rerank_plugin.scoring.forking import renew_after_fork
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL

# Concurrent calls of `run_async`: one of them scores, the others tokenise or wait for their turn.
ASYNC_CALLS = 16


@component
class CrossEncoderRanker:
    """
    Ranks documents by how well they answer the query, with a cross-encoder.

    A drop-in for Haystack's `SentenceTransformersSimilarityRanker`: the parameters have the same names and meanings.
    It returns copies of the documents: `score` is the ranker's; `meta["first_stage_score"]` and `meta["first_stage_rank"]`
    (from 1) keep the first stage's.

    ```python
    from haystack import Document
    from rerank_plugin import CrossEncoderRanker

    ranker = CrossEncoderRanker()
    documents = [Document(content="Paris is in France."), Document(content="Berlin is in Germany.")]
    ranker.run(query="city in Germany", documents=documents)["documents"][0].content
    ```

    :param model: A bundled name, a folder, or a Hub id. Default: the bundled English model.
    :param device: Where the model runs; a string (`cpu`, `cuda:0`) works too. `None`: the best device available.
    :param token: Access token for private models on the Hub; read at `warm_up`.
    :param top_k: Maximum number of documents to return.
    :param query_prefix: Text before the query, which instruction-tuned models need.
    :param query_suffix: Text after the query.
    :param document_prefix: Text before each passage.
    :param document_suffix: Text after each passage.
    :param meta_fields_to_embed: Metadata fields to prepend to the content, `title` for example.
    :param embedding_separator: Separator between these fields and the content.
    :param scale_score: `True`: scores are probabilities (sigmoid of the logit, calibrated if there is a calibration).
        `False`: scores are the logits.
    :param score_threshold: Leave out documents that the cross-encoder scores below this. `None` keeps all.
    :param trust_remote_code: Run code that comes with the model.
    :param model_kwargs: For `from_pretrained` of the network, as in sentence-transformers.
    :param tokenizer_kwargs: For `AutoTokenizer.from_pretrained`.
    :param config_kwargs: For `AutoConfig.from_pretrained`.
    :param backend: `auto` (OpenVINO on a CPU, torch elsewhere), `torch`, `openvino` or `onnx` (needs the extra `onnx`).
    :param batch_size: Maximum number of pairs scored at once; `None`: limited by `max_batch_tokens` only.
    :param max_batch_tokens: Maximum number of tokens scored at once, padding included; bounds the memory of long passages.
        `None`: what is fastest on the backend.
    :param precision: `auto` (bf16 in OpenVINO if the CPU supports it, fp16 on a GPU, else fp32), `fp32`, `bf16`, `fp16`
        (torch), or `int8` (OpenVINO and ONNX, with the extra `int8`).
    :param num_threads: Threads of the model; `None`: one for each processor that the process may use, and one queue for all
        rankers of the process.
    :param torch_compile: Compile the model, with the torch backend.
    :param max_length: Maximum tokens of query and passage together, at most the model's input length; `None`: the input
        length, but 1024 for the windows of a long passage.
    :param window_aggregation: How the scores of a long passage's windows are aggregated: `max`, `mean_top_k` or `first`;
        `truncate` cuts the passage as the stock ranker does. `meta["window"]` holds the deciding characters of the content.
    :param window_overlap: Tokens that neighbouring windows share (the "stride" of tokenizers), at most half of the model's
        input length.
    :param window_top_k: Number of windows that `mean_top_k` averages.
    :param calibration: `auto`: the calibration in the model's folder, if there is one; `none`; or the file that
        `rerank calibrate` wrote.
    :param score_cache: Cache scores in `memory` or in an SQLite file (a path: `./scores` or `scores.sqlite`), which
        several processes may share and which may be read-only. `None`: no cache.
    :param score_cache_size: Maximum number of cached scores.
    :param time_budget_ms: Milliseconds for a call, not counting loading the model. Candidates left unscored come last, in
        first-stage order and without a score, marked by `meta["reranked"] = False`. If time runs out between the windows of
        a long document, it has the score of the windows read so far, marked by `meta["partly_read"] = True`. The first
        batch is always scored. `None`: no limit; everything is read.
    :param on_error: `raise`, or `keep_order`: if scoring fails, return the candidates as the first stage ranked them.
    :param fusion: Combine both stages' rankings: `none`, `rrf`, `linear` or `log_linear` (see `scoring.fusion`). The
        cross-encoder's own score is then in `meta["second_stage_score"]`.
    :param fusion_weight: Weight of the second stage, 0 to 1; `None`: the calibration's, or else 0.5.
    :param adaptive_depth: Stop scoring once the remaining candidates are too deep to enter the result: a document of the
        full result is kept with this confidence (0 to 1). Needs a calibration. It decides after every few candidates; a list
        shorter than that is scored in full. `None`: score all.
    :param early_exit: Score all candidates with the early-exit network, and this many of them with all layers. Needs a model
        with an early-exit network. `None`: score all with all layers.
    :param effort: `exact`: score all candidates with all layers. `balanced` and `fast`: take a first look at all with the
        model's early-exit network, and score the likeliest with all layers, a few at a time, until the rest can no longer
        enter the result; where the first look leaves doubt, more are scored. A model without such a network goes through the
        candidates in first-stage order instead. What is kept of the full result, mean of the queries that the calibration
        was fitted on, says `scoring.effort`. Needs a calibration. Candidates left unscored are not in the result.
    :ivar config: The configuration, immutable. Its fields can also be read as attributes of the component; to change one,
        make a new ranker.
    :raises InvalidValueError: If a value is out of range, or contradicts another one.
    """

    config: RankerConfig

    def __init__(  # noqa: PLR0913 - the parameters of the component that it replaces, and more
        self,
        *,
        model: str | Path = DEFAULT_MODEL,
        device: ComponentDevice | str | None = None,
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
        effort: str = "exact",
    ) -> None:
        # The config checks the values and converts them to the types of its fields.
        self.config = RankerConfig(
            model=model,  # type: ignore[arg-type]
            device=device,  # type: ignore[arg-type]
            token=token,
            top_k=top_k,
            query_prefix=query_prefix,
            query_suffix=query_suffix,
            document_prefix=document_prefix,
            document_suffix=document_suffix,
            meta_fields_to_embed=meta_fields_to_embed,  # type: ignore[arg-type]
            embedding_separator=embedding_separator,
            scale_score=scale_score,
            score_threshold=score_threshold,
            trust_remote_code=trust_remote_code,
            model_kwargs=model_kwargs,
            tokenizer_kwargs=tokenizer_kwargs,
            config_kwargs=config_kwargs,
            backend=backend,
            batch_size=batch_size,
            max_batch_tokens=max_batch_tokens,
            precision=precision,
            num_threads=num_threads,
            torch_compile=torch_compile,
            max_length=max_length,
            window_aggregation=window_aggregation,
            window_overlap=window_overlap,
            window_top_k=window_top_k,
            calibration=calibration,  # type: ignore[arg-type]
            score_cache=score_cache,  # type: ignore[arg-type]
            score_cache_size=score_cache_size,
            time_budget_ms=time_budget_ms,
            on_error=on_error,
            fusion=fusion,
            fusion_weight=fusion_weight,
            adaptive_depth=adaptive_depth,
            early_exit=early_exit,
            effort=effort,
        )
        self._reranker = Reranker(self.config)
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock and the threads. Called in a forked child."""
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    if not TYPE_CHECKING:  # type checkers see the config's fields instead

        def __getattr__(self, name: str) -> Any:
            if name in PARAMETERS and "config" in self.__dict__:
                return self.config.init_parameters()[name]
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

        def __setattr__(self, name: str, value: Any) -> None:
            if name in PARAMETERS:
                raise AttributeError(
                    f"{name} of a ranker cannot be changed, as its model is loaded for it: make a new one, "
                    f"CrossEncoderRanker(**{{**ranker.config.init_parameters(), {name!r}: ...}})"
                )
            object.__setattr__(self, name, value)  # not super(): the decorator creates a new class

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the configuration; the copy loads the model itself."""
        return partial(type(self), **self.config.init_parameters()), ()

    def __enter__(self) -> "CrossEncoderRanker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def warm_up(self) -> None:
        """
        Load the model; a second call does nothing. With `on_error="keep_order"`, a failure to load is only logged.

        :raises ModelError: If the model cannot be found or is not a cross-encoder.
        :raises InvalidValueError: If the backend is unknown, does not run on the device or lacks the precision.
        """
        self._reranker.warm_up()

    def close(self) -> None:
        """Wait for pending calls of `run_async`, and release the model. A later `run` loads it again."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()
        self._reranker.close()

    @component.output_types(documents=list[Document], status=dict[str, Any])
    def run(
        self,
        *,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        scale_score: bool | None = None,
        score_threshold: float | None = None,
        time_budget_ms: float | None = None,
    ) -> Answer:
        """
        Rank documents by how well they answer the query.

        Of documents with the same id, only the one with the highest score is kept. `None` as content counts as empty.

        :param query: The query.
        :param documents: The candidates, in first-stage order.
        :param top_k: Maximum number of documents to return; `None` means as configured.
        :param scale_score: Probabilities or logits; `None` means as configured.
        :param score_threshold: Lowest score to return; `None` means as configured.
        :param time_budget_ms: Milliseconds for this call; `None` means as configured.
        :returns: `documents`: copies, best first; ties are ordered by id. `status`: how the result was produced:
            `state` (`complete`; `partial`: the time budget left candidates unscored or partly read; `fallback`: scoring
            failed, and the first-stage order was kept), `candidates`, `scored`, `partly_read`, `stopped_by` (`deadline`,
            `depth`, `early_exit` or `None`), `cached` (scores from the cache), `milliseconds`,
            `model_milliseconds` (without waiting for other calls), `backend` (such as `openvino bf16`) and `error`.
        :raises InvalidValueError: If the query is empty or not valid text, a document is not a Document or has invalid text,
            `top_k` is below 1, or a score that `fusion` needs is missing. Nothing is scored in that case.
        :raises ModelError: If the model cannot be loaded or is not a cross-encoder; or if it was loaded before this process
            was forked.
        """
        overrides = Overrides(top_k, scale_score, score_threshold, time_budget_ms)
        return self._reranker.answer([query], [documents], overrides)[0]

    @component.output_types(documents=list[Document], status=dict[str, Any])
    async def run_async(
        self,
        *,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        scale_score: bool | None = None,
        score_threshold: float | None = None,
        time_budget_ms: float | None = None,
    ) -> Answer:
        """
        Rank documents without blocking the event loop.

        Calls share one queue of batches, as each batch uses all cores, and short calls overtake long ones. Waiting counts
        towards the time budget. A cancelled call stops before its next batch.

        :param query: See `run`.
        :param documents: See `run`.
        :param top_k: See `run`.
        :param scale_score: See `run`.
        :param score_threshold: See `run`.
        :param time_budget_ms: See `run`.
        :returns: See `run`.
        :raises InvalidValueError: See `run`.
        :raises ModelError: See `run`.
        """
        overrides = Overrides(top_k, scale_score, score_threshold, time_budget_ms)
        cancelled = threading.Event()
        answer = partial(
            self._reranker.answer,
            [query],
            [documents],
            overrides,
            began=self._reranker.clock(),
            should_stop=cancelled.is_set,
        )
        try:
            return (await self._in_own_thread(answer))[0]
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
        time_budget_ms: float | None = None,
    ) -> list[Answer]:
        """
        Rank the candidates of several queries; their pairs share batches.

        :param queries: The queries.
        :param documents: For each query its candidates, in first-stage order.
        :param top_k: See `run`.
        :param scale_score: See `run`.
        :param score_threshold: See `run`.
        :param time_budget_ms: See `run`.
        :returns: For each query what `run` would return; both times are those of the whole call.
        :raises InvalidValueError: See `run`; or if there are not as many lists of documents as queries.
        :raises ModelError: See `run`.
        """
        check_queries(queries, documents)
        overrides = Overrides(top_k, scale_score, score_threshold, time_budget_ms)
        return self._reranker.answer(queries, documents, overrides)

    def logits(self, query: str, passages: Sequence[str]) -> list[float]:
        """
        Score texts as they are: no ranking, fusion or time budget.

        :param query: The query.
        :param passages: The texts; prefixes and suffixes are put around them.
        :returns: The logit of each text, in order.
        :raises InvalidValueError: If one of them is not valid text.
        :raises ModelError: If the model cannot be loaded or is not a cross-encoder.
        """
        return self._reranker.logits(query, passages)

    def to_dict(self) -> dict[str, Any]:
        """Return type and init parameters, for Haystack's YAML."""
        return default_to_dict(self, **self.config.to_yaml())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "CrossEncoderRanker":
        """
        Build the component from the output of `to_dict`, or from YAML.

        :param data: `type` and `init_parameters`.
        :returns: The component.
        """
        parameters = dict(data.get("init_parameters") or {})
        if isinstance(parameters.get("model_kwargs"), dict):
            parameters["model_kwargs"] = dict(parameters["model_kwargs"])
            deserialize_hf_model_kwargs(parameters["model_kwargs"])
        ranker: CrossEncoderRanker = default_from_dict(cls, {**data, "init_parameters": parameters})
        return ranker

    def _in_own_thread(self, answer: Callable[[], list[Answer]]) -> "asyncio.Future[list[Answer]]":
        # Under the lock, so that `close` cannot shut the executor down before the call is submitted.
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(max_workers=ASYNC_CALLS, thread_name_prefix="rerank")
            return asyncio.wrap_future(self._executor.submit(answer))
