"""The parameters of `CrossEncoderRanker`, checked once."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from haystack.utils import ComponentDevice, Secret
from haystack.utils.hf import serialize_hf_model_kwargs

from rerank_plugin.checks import check_choice, check_count, check_flag, check_number, check_text, shown
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.backends.registry import BACKENDS, PRECISIONS, check_precision
from rerank_plugin.scoring.cache import MEMORY
from rerank_plugin.scoring.depth import check_confidence
from rerank_plugin.scoring.effort import EFFORTS
from rerank_plugin.scoring.fusion import FUSIONS
from rerank_plugin.scoring.loading.device import CPU, has_only_cpu
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL, ModelSpec
from rerank_plugin.scoring.scorer import ScorerSettings
from rerank_plugin.scoring.windows import WindowSettings

ON_ERROR = ("raise", "keep_order")
FLAGS = ("scale_score", "trust_remote_code", "torch_compile")
TEXTS = ("query_prefix", "query_suffix", "document_prefix", "document_suffix", "embedding_separator")
KEYWORDS = ("model_kwargs", "tokenizer_kwargs", "config_kwargs")
COUNTS = ("top_k", "score_cache_size")
OPTIONAL_COUNTS = ("batch_size", "max_batch_tokens", "num_threads", "max_length", "early_exit")
OPTIONAL_NUMBERS: dict[str, Callable[[str, Any], object]] = {
    "score_threshold": check_number,
    "fusion_weight": partial(check_number, least=0, most=1),
    "time_budget_ms": partial(check_number, above=0),
    "adaptive_depth": lambda _, value: check_confidence(value),
}


@dataclass(frozen=True)
class RankerConfig:
    """
    The configuration of a ranker, immutable: `dataclasses.replace` makes a changed copy, which is checked again.

    The fields are the init parameters of `CrossEncoderRanker`, where they are documented. Values that depend on the model
    are checked when it is loaded.

    :raises InvalidValueError: If a value has the wrong type, is out of range, or contradicts another one.
    """

    model: str = DEFAULT_MODEL
    device: ComponentDevice | None = None
    token: Secret | None = None
    top_k: int = 10
    query_prefix: str = ""
    query_suffix: str = ""
    document_prefix: str = ""
    document_suffix: str = ""
    meta_fields_to_embed: tuple[str, ...] = ()
    embedding_separator: str = "\n"
    scale_score: bool = True
    score_threshold: float | None = None
    trust_remote_code: bool = False
    model_kwargs: dict[str, Any] | None = field(default=None, hash=False)
    tokenizer_kwargs: dict[str, Any] | None = field(default=None, hash=False)
    config_kwargs: dict[str, Any] | None = field(default=None, hash=False)
    backend: str = "auto"
    batch_size: int | None = None
    max_batch_tokens: int | None = None
    precision: str = "auto"
    num_threads: int | None = None
    torch_compile: bool = False
    max_length: int | None = None
    window_aggregation: str = "max"
    window_overlap: int = WindowSettings.overlap
    window_top_k: int = WindowSettings.best
    calibration: str = "auto"
    score_cache: str | None = None
    score_cache_size: int = 100_000
    time_budget_ms: float | None = None
    on_error: str = "raise"
    fusion: str = "none"
    fusion_weight: float | None = None
    adaptive_depth: float | None = None
    early_exit: int | None = None
    effort: str = "exact"

    def __post_init__(self) -> None:
        normalised = {
            "model": _path_or_text("model", self.model),
            "device": _device(self.device),
            "meta_fields_to_embed": _names("meta_fields_to_embed", self.meta_fields_to_embed),
            "calibration": _path_or_text("calibration", self.calibration),
            "score_cache": _cache_place(self.score_cache),
            **{name: _keywords(name, getattr(self, name)) for name in KEYWORDS},
        }
        for name, value in normalised.items():
            object.__setattr__(self, name, value)
        self._check_types()
        self._check_conflicts()

    def _check_types(self) -> None:
        for name in FLAGS:
            check_flag(name, getattr(self, name))
        for name in TEXTS:
            check_text(name, getattr(self, name), empty=True)
        for name in COUNTS:
            check_count(name, getattr(self, name))
        for name in OPTIONAL_COUNTS:
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        if self.token is not None and not isinstance(self.token, Secret):
            raise InvalidValueError("token must be a Secret, not a bare value: write Secret.from_env_var('HF_TOKEN')")
        for name, check in OPTIONAL_NUMBERS.items():
            if getattr(self, name) is not None:
                check(name, getattr(self, name))
        check_choice("on_error", self.on_error, ON_ERROR)
        check_choice("fusion", self.fusion, FUSIONS)
        check_choice("effort", self.effort, EFFORTS)
        check_choice("backend", self.backend, ["auto", *sorted(BACKENDS)])
        check_choice("precision", self.precision, sorted({p for choices in PRECISIONS.values() for p in choices}))
        _ = self.windows

    def _check_conflicts(self) -> None:
        if self.backend != "auto":
            check_precision(self.precision, backend=self.backend)
        if self.torch_compile and self.backend not in ("auto", "torch"):
            raise InvalidValueError(f"torch_compile needs backend 'torch', not {self.backend!r}: leave one of them out")
        if self.fusion_weight is not None and self.fusion == "none":
            raise InvalidValueError(
                f"fusion_weight is {self.fusion_weight}, but fusion is 'none': choose one of "
                f"{', '.join(FUSIONS[1:])}, or leave fusion_weight out"
            )
        if self.adaptive_depth is not None and self.early_exit is not None:
            raise InvalidValueError("adaptive_depth and early_exit exclude each other: leave one of them out")
        for name in ("adaptive_depth", "early_exit"):
            if self.effort != "exact" and getattr(self, name) is not None:
                raise InvalidValueError(f"effort {self.effort!r} and {name} exclude each other: leave one of them out")

    @property
    def saves_work(self) -> bool:
        """Whether candidates that cannot matter are left unscored."""
        return self.adaptive_depth is not None or self.early_exit is not None or self.effort != "exact"

    @property
    def windows(self) -> WindowSettings:
        """How long passages are read."""
        return WindowSettings(self.window_aggregation, overlap=self.window_overlap, best=self.window_top_k)

    def model_spec(self) -> ModelSpec:
        """Return the model to load. This reads the token and resolves the device."""
        return ModelSpec(
            model=self.model,
            device=CPU if self.device is None and has_only_cpu() else self._resolved_device(),
            token=self.token.resolve_value() if self.token else None,
            trust_remote_code=self.trust_remote_code,
            model_kwargs=self.model_kwargs,
            tokenizer_kwargs=self.tokenizer_kwargs,
            config_kwargs=self.config_kwargs,
        )

    def _resolved_device(self) -> str:
        return ComponentDevice.resolve_device(self.device).to_torch_str()

    def scorer_settings(self) -> ScorerSettings:
        """Return how to run the model."""
        return ScorerSettings(
            backend=self.backend,
            precision=self.precision,
            num_threads=self.num_threads,
            windows=self.windows,
            max_length=self.max_length,
            max_batch_tokens=self.max_batch_tokens,
            max_batch_pairs=self.batch_size,
            compile_torch=self.torch_compile,
        )

    def init_parameters(self) -> dict[str, Any]:
        """Return the init parameters of a component with this configuration."""
        values = {name: getattr(self, name) for name in PARAMETERS}
        return {**values, "meta_fields_to_embed": list(self.meta_fields_to_embed)}

    def to_yaml(self) -> dict[str, Any]:
        """Return the init parameters in the form of a YAML file."""
        values = self.init_parameters()
        values["device"] = self.device.to_dict() if self.device else None
        if self.model_kwargs is not None:
            values["model_kwargs"] = dict(self.model_kwargs)
            serialize_hf_model_kwargs(values["model_kwargs"])
        return values


PARAMETERS = tuple(parameter.name for parameter in fields(RankerConfig))


def _path_or_text(name: str, value: Any) -> str:
    return check_text(name, str(value) if isinstance(value, Path) else value)


def _device(value: Any) -> ComponentDevice | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            return ComponentDevice.from_str(value)
        except (ValueError, IndexError) as error:
            raise InvalidValueError(f"unknown device {value!r} ({error}): write 'cpu', 'cuda' or 'cuda:0'") from error
    if not isinstance(value, ComponentDevice):
        raise InvalidValueError(f"device must be a ComponentDevice or a text such as 'cpu' or 'cuda:0', got {shown(value)}")
    if value.has_multiple_devices:
        raise InvalidValueError("device names several devices, but a ranker runs on one: choose one")
    return value


def _names(name: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise InvalidValueError(f"{name} must be a list of names, got {shown(value)}: write [title], not title")
    return tuple(check_text(f"{name}[{position}]", item) for position, item in enumerate(value))


def _keywords(name: str, value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InvalidValueError(f"{name} must be a dictionary with names as keys, got {shown(value)}")
    return dict(value)


def _cache_place(value: Any) -> str | None:
    if value is None or value == MEMORY:
        return None if value is None else MEMORY
    text = _path_or_text("score_cache", value)
    if os.sep in text or "/" in text or Path(text).suffix:
        return text
    if isinstance(value, Path):
        return os.path.join(os.curdir, text)  # noqa: PTH118 - a Path drops the dot, which marks a path
    raise InvalidValueError(
        f"score_cache must be {MEMORY!r} or the path of an SQLite file, got {text!r}: if you mean a file of that name in "
        f"the current folder, write ./{text}"
    )
