"""The parameters of `CrossEncoderRanker`: what is allowed, and what they mean for the engine."""

from typing import TYPE_CHECKING

from haystack.utils import ComponentDevice

from rerank_plugin.components.engine import EngineSettings
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.depth import check_confidence
from rerank_plugin.scoring.fusion import FUSIONS
from rerank_plugin.scoring.loading.spec import ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings
from rerank_plugin.scoring.windows import WindowSettings

if TYPE_CHECKING:
    from rerank_plugin.components.ranker import CrossEncoderRanker

ON_ERROR = ("raise", "keep_order")
AT_LEAST_ONE = (
    "top_k", "batch_size", "max_batch_tokens", "num_threads", "max_length", "score_cache_size", "early_exit"
)  # fmt: skip


def check_settings(ranker: "CrossEncoderRanker") -> None:
    """
    Check the parameters of a ranker.

    :param ranker: The ranker.
    :raises InvalidValueError: If one of them cannot be used; those that depend on the model are checked at `warm_up`.
    """
    for name in AT_LEAST_ONE:
        value = getattr(ranker, name)
        if value is not None:
            check_positive(name, value)
    for name, value, choices in (("on_error", ranker.on_error, ON_ERROR), ("fusion", ranker.fusion, FUSIONS)):
        if value not in choices:
            raise InvalidValueError(f"unknown {name} {value!r}: choose one of {list(choices)}")
    if ranker.fusion_weight is not None and not 0.0 <= ranker.fusion_weight <= 1.0:
        raise InvalidValueError(f"fusion_weight must be between 0 and 1, got {ranker.fusion_weight}")
    if ranker.time_budget_ms is not None and not ranker.time_budget_ms > 0:
        raise InvalidValueError(f"time_budget_ms must be above 0, got {ranker.time_budget_ms}")
    if ranker.adaptive_depth is not None:
        check_confidence(ranker.adaptive_depth)
    if ranker.adaptive_depth is not None and ranker.early_exit is not None:
        raise InvalidValueError("adaptive_depth and early_exit exclude each other: leave one of them out")
    _windows(ranker)


def check_positive(name: str, value: int) -> None:
    """
    Check a count.

    :raises InvalidValueError: If it is below 1.
    """
    if value < 1:
        raise InvalidValueError(f"{name} must be at least 1, got {value}")


def engine_settings(ranker: "CrossEncoderRanker") -> EngineSettings:
    """
    Gather what decides about a ranker's engine. The token is read here, and the device is chosen.

    :param ranker: The ranker.
    :returns: The settings.
    """
    spec = ModelSpec(
        model=ranker.model,
        device=ComponentDevice.resolve_device(ranker.device).to_torch_str(),
        token=ranker.token.resolve_value() if ranker.token else None,
        trust_remote_code=ranker.trust_remote_code,
        model_kwargs=ranker.model_kwargs,
        tokenizer_kwargs=ranker.tokenizer_kwargs,
        config_kwargs=ranker.config_kwargs,
    )
    scorer = ScorerSettings(
        backend=ranker.backend,
        precision=ranker.precision,
        num_threads=ranker.num_threads,
        windows=_windows(ranker),
        max_length=ranker.max_length,
        max_batch_tokens=ranker.max_batch_tokens,
        max_batch_pairs=ranker.batch_size,
        compile_torch=ranker.torch_compile,
    )
    return EngineSettings(
        spec=spec,
        scorer=scorer,
        calibration=ranker.calibration,
        score_cache=ranker.score_cache,
        score_cache_size=ranker.score_cache_size,
        adaptive_depth=ranker.adaptive_depth,
        early_exit=ranker.early_exit,
    )


def _windows(ranker: "CrossEncoderRanker") -> WindowSettings:
    return WindowSettings(ranker.window_aggregation, overlap=ranker.window_overlap, best=ranker.window_top_k)
