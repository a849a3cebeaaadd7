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

# Calls of `run_async` that are under way at once: one of them scores, the others tokenise, or wait for their turn.
ASYNC_CALLS = 16


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
    :param device: Where the model runs, also as a text (`cpu`, `cuda:0`). `None` takes the best that is there.
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
    :param max_length: Most tokens of query and passage together, no more than the model reads; `None`: as many as it reads.
    :param window_aggregation: How the windows of a passage that is too long make one score: `max`, `mean_top_k`, or `first`;
        `truncate` cuts the passage as the stock ranker does. `meta["window"]` says which characters of the content decided.
    :param window_overlap: Tokens that neighbouring windows share (the "stride" of tokenizers), at most half of what the
        model reads.
    :param window_top_k: Windows that `mean_top_k` takes the mean of.
    :param calibration: `auto`: the calibration in the model's folder, if there is one; `none`; or the file that
        `rerank calibrate` wrote.
    :param score_cache: Remember scores in `memory` or in an SQLite file (a path: `./scores` or `scores.sqlite`), which
        processes may share, and which may be read-only. `None`: score anew each time.
    :param score_cache_size: Most scores that are remembered.
    :param time_budget_ms: Milliseconds for a call; loading the model does not count. Candidates that it leaves unscored come
        last, in first-stage order and without a score, marked by `meta["reranked"] = False`. A long document between whose
        windows the time ran out has the score of the windows that were read, marked by `meta["partly_read"] = True`. The
        first batch is always scored. `None`: take as long as it takes, and read everything.
    :param on_error: `raise`, or `keep_order`: if scoring fails, return the candidates as the first stage ranked them.
    :param fusion: Rank by both stages: `none`, `rrf` or `linear` (see `scoring.fusion`). The cross-encoder's own score is
        then in `meta["second_stage_score"]`.
    :param fusion_weight: Weight of the second stage, 0 to 1, with a `fusion`; `None`: the calibration's, or else 0.5.
    :param adaptive_depth: Stop when, with this confidence (0 to 1), a document of the full result is among those found: the
        remaining candidates are too deep to enter it. Needs a calibration. Fewer candidates than it looks at between two
        decisions are all scored. `None`: score all.
    :param early_exit: Score all candidates with the first layers only, and this many of them with all layers. Needs a model
        with an early-exit head. `None`: score all with all layers.
    :ivar config: All of this as a value that does not change. Its fields can be read as attributes of the component, too; to
        change one, make another ranker.
    :raises InvalidValueError: If a value is none of those described, or contradicts another one.
    """

    config: RankerConfig

    def __init__(  # noqa: PLR0913 - the parameters of the component that this one replaces, and its own
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
    ) -> None:
        # What the types of the fields promise is checked, and made true, by the config itself.
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
        )
        self._reranker = Reranker(self.config)
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the parent's threads. Called in a forked child."""
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    if not TYPE_CHECKING:  # the type of each parameter is that of the config's field

        def __getattr__(self, name: str) -> Any:
            if name in PARAMETERS and "config" in self.__dict__:
                return self.config.init_parameters()[name]
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

        def __setattr__(self, name: str, value: Any) -> None:
            if name in PARAMETERS:
                raise AttributeError(
                    f"{name} of a ranker cannot be changed, as the model is loaded for it: make another one, "
                    f"CrossEncoderRanker(**{{**ranker.config.init_parameters(), {name!r}: ...}})"
                )
            object.__setattr__(self, name, value)  # not super(): the decorator makes another class of this one

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
        Load the model; a second call does nothing. With `on_error="keep_order"` a model that cannot be loaded is a warning.

        :raises ModelError: If the model cannot be found or is no cross-encoder.
        :raises InvalidValueError: If the backend is unknown, does not run on the device or does not have the precision.
        """
        self._reranker.warm_up()

    def close(self) -> None:
        """Wait for the calls of `run_async` that were made before, and let the model go. A later `run` loads it again."""
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
    ) -> Answer:
        """
        Rank documents by how well they answer the query.

        Documents that share an id count once: the one with the highest score stays. `None` as content counts as empty.

        :param query: The query.
        :param documents: The candidates, in first-stage order.
        :param top_k: Most documents to return; `None` means as configured.
        :param scale_score: Probabilities or logits; `None` means as configured.
        :param score_threshold: Lowest score to return; `None` means as configured.
        :returns: `documents`: copies, best first; equal scores are ordered by id. `status`: how the answer came about:
            `state` (`complete`; `partial`: the time budget left candidates unscored or partly read; `fallback`: scoring
            failed, the order is the first stage's), `candidates`, `scored`, `partly_read`, `stopped_by` (`deadline`,
            `depth`, `early_exit` or `None`), `cached` (scores from the cache), `milliseconds`, `backend` (such as
            `openvino bf16`) and `error`.
        :raises InvalidValueError: If the query is empty or no valid text, a document is none or has no valid text, `top_k`
            is below 1, or a score is missing that `fusion` reads. Nothing has been scored then.
        :raises ModelError: If the model cannot be loaded or is no cross-encoder; or if it was loaded before this process was
            forked.
        """
        overrides = Overrides(top_k, scale_score, score_threshold)
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
    ) -> Answer:
        """
        Rank documents without blocking the event loop.

        The scoring runs in threads of the ranker's own, which take turns, as each uses all cores. The time that a call waits
        counts towards its time budget. A call that is cancelled stops before its next batch.

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
    ) -> list[Answer]:
        """
        Rank the candidates of several queries; their pairs share batches.

        :param queries: The queries.
        :param documents: For each query its candidates, in first-stage order.
        :param top_k: See `run`.
        :param scale_score: See `run`.
        :param score_threshold: See `run`.
        :returns: For each query what `run` would return; `milliseconds` are those of the whole call.
        :raises InvalidValueError: See `run`; or if there are not as many lists of documents as queries.
        :raises ModelError: See `run`.
        """
        check_queries(queries, documents)
        return self._reranker.answer(queries, documents, Overrides(top_k, scale_score, score_threshold))

    def logits(self, query: str, passages: Sequence[str]) -> list[float]:
        """
        Score texts as they are, all of them: no ranking, fusion or time budget.

        :param query: The query.
        :param passages: The texts; prefixes and suffixes are put around them.
        :returns: The logit of each text, in order.
        :raises InvalidValueError: If one of them is no valid text.
        :raises ModelError: If the model cannot be loaded or is no cross-encoder.
        """
        return self._reranker.logits(query, passages)

    def to_dict(self) -> dict[str, Any]:
        """Return type and init parameters, as Haystack's YAML wants them."""
        return default_to_dict(self, **self.config.to_yaml())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "CrossEncoderRanker":
        """
        Make the component from what `to_dict` returned, or what a YAML says.

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
        # Under the lock: `close` must not shut the executor down between these two lines.
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(max_workers=ASYNC_CALLS, thread_name_prefix="rerank")
            return asyncio.wrap_future(self._executor.submit(answer))
