"""Model specification: a bundled name, a folder or a Hub id, and how to load it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_plugin.checks import check_text, shown
from rerank_plugin.errors import InvalidValueError, ModelError, reason_of

BUNDLED_FOLDER = Path(__file__).parents[2] / "models"
DEFAULT_MODEL = "me5-l12-enru"
# English, six layers. It would make the package larger than a package index takes, so it is in the repository only.
REPOSITORY_MODEL = "minilm-l6-en"
REPOSITORY_MODELS = "https://github.com/rerank-plugin/rerank-plugin/tree/main/rerank_plugin/models"
# Keyword arguments of `from_pretrained` that say where files come from, not how the model is built.
HUB_ARGUMENTS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder")


@dataclass(frozen=True)
class HubOptions:
    """
    Where the files of a model come from. The options apply to configuration, tokenizer and weights.

    :param revision: Branch, tag or commit on the Hub; `None`: the main branch.
    :param token: Access token of the Hub.
    :param cache_dir: Where downloads are kept; `None`: the Hub's own cache.
    :param local_files_only: Use only what was downloaded before.
    :param force_download: Download again even what is in the cache.
    :param subfolder: Folder inside the repository or the model's folder; empty: the top level.
    """

    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | None = None
    local_files_only: bool = False
    force_download: bool = False
    subfolder: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """
    A model, and how sentence-transformers loads it.

    The arguments that say where files come from (see `HUB_ARGUMENTS`) may be given in any of the three dictionaries; they
    apply to configuration, tokenizer and weights alike.

    :param model: A bundled name, a folder, or a Hub id (`owner/name`).
    :param device: The torch device, for example `cpu` or `cuda:0`.
    :param token: Access token of the Hub.
    :param trust_remote_code: Run code that comes with the model.
    :param model_kwargs: For `from_pretrained` of the network, as in sentence-transformers.
    :param tokenizer_kwargs: For `AutoTokenizer.from_pretrained`.
    :param config_kwargs: For `AutoConfig.from_pretrained`.
    :param early_exit: Load the model's early-exit network instead of the whole model.
    """

    model: str
    device: str = "cpu"
    # Access tokens must not appear in logs.
    token: str | None = field(default=None, repr=False)
    trust_remote_code: bool = False
    model_kwargs: dict[str, Any] | None = field(default=None, repr=False)
    tokenizer_kwargs: dict[str, Any] | None = field(default=None, repr=False)
    config_kwargs: dict[str, Any] | None = field(default=None, repr=False)
    early_exit: bool = False

    def hub_options(self) -> HubOptions:
        """
        Collect the arguments that say where files come from.

        :raises InvalidValueError: If two of the dictionaries contradict each other.
        """
        options: dict[str, Any] = {}
        for place in ("model_kwargs", "tokenizer_kwargs", "config_kwargs"):
            for name in HUB_ARGUMENTS:
                value = (getattr(self, place) or {}).get(name)
                if value is None:
                    continue
                if name in options and options[name] != value:
                    raise InvalidValueError(
                        f"{name} in {place} differs from the one given before it"
                        + ("" if name == "token" else f" ({shown(value)} and {shown(options[name])})")
                        + ": configuration, tokenizer and weights come from one place, so give it once, in model_kwargs"
                    )
                options[name] = value
        if self.token is not None:
            options["token"] = self.token
        for name in ("revision", "subfolder"):
            if name in options:
                check_text(name, options[name], empty=name == "subfolder")
        return HubOptions(**options)

    def loading_kwargs(self) -> dict[str, dict[str, Any]]:
        """Return the three dictionaries without the arguments of `hub_options`, by parameter name."""
        return {
            name: {key: value for key, value in (getattr(self, name) or {}).items() if key not in HUB_ARGUMENTS}
            for name in ("model_kwargs", "tokenizer_kwargs", "config_kwargs")
        }

    def output_settings(self) -> Mapping[str, Any]:
        """Return what a model's outputs depend on, besides its files."""
        return {**self.loading_kwargs(), "early_exit": self.early_exit}


def bundled_models() -> list[str]:
    """Return the names of the models that come with the package; a checkout also has `REPOSITORY_MODEL`."""
    return sorted(path.parent.name for path in BUNDLED_FOLDER.glob("*/config.json"))


def resolve_model(model: str) -> str:
    """
    Resolve a user's model name to a folder or a Hub id.

    :param model: A bundled name, a folder, or a Hub id.
    :returns: The folder, or the Hub id unchanged; whether it exists on the Hub is checked at loading.
    :raises ModelError: If it is none of these.
    :raises InvalidValueError: If it is not text.
    """
    check_text("model", str(model) if isinstance(model, Path) else model)
    model = str(model)
    if model in bundled_models():
        return str(BUNDLED_FOLDER / model)
    try:
        path = Path(model).expanduser()
        if path.is_dir():
            return str(path)
    except (OSError, ValueError, RuntimeError):
        pass  # too long for a path, a null character, or the home of an unknown user
    if model == REPOSITORY_MODEL:
        raise ModelError(
            f"model {model!r} does not come with the package: download {REPOSITORY_MODELS}/{model} and give the folder"
        )
    is_hub_id = model.count("/") == 1 and not model.startswith((".", "/", "~")) and not model.endswith("/")
    if not is_hub_id:
        raise ModelError(
            f"unknown model {shown(model)}: there is no such folder; bundled models are {bundled_models()}, "
            "and a Hub model is written owner/name"
        )
    return model


def not_loaded(model: str, error: Exception) -> ModelError:
    """
    Explain in one line why a model could not be loaded.

    :param model: The model as the user gave it.
    :param error: The error of transformers.
    """
    return ModelError(
        f"model {model!r} cannot be loaded: {reason_of(error)} (bundled models, which need no network: {bundled_models()})"
    )
