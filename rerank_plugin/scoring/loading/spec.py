"""Find and load a cross-encoder: a bundled name, a folder, or a Hub id."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.early_exit import EarlyExitHead, cut_to_exit

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

BUNDLED_FOLDER = Path(__file__).parents[2] / "models"
DEFAULT_MODEL = "minilm-l6-en"


@dataclass(frozen=True)
class ModelSpec:
    """
    Which model, and how sentence-transformers shall load it. All but `model` go to `CrossEncoder` as they are.

    :param model: A bundled name, a folder, or a Hub id (`owner/name`).
    :param device: The torch device, for example `cpu` or `cuda:0`.
    :param token: Access token of the Hub.
    :param trust_remote_code: Run code that comes with the model.
    :param model_kwargs: For `AutoModelForSequenceClassification.from_pretrained`.
    :param tokenizer_kwargs: For `AutoTokenizer.from_pretrained`.
    :param config_kwargs: For `AutoConfig.from_pretrained`.
    :param early_exit: Load the first layers under the model's early-exit head instead of the whole model.
    """

    model: str
    device: str = "cpu"
    token: str | None = None
    trust_remote_code: bool = False
    model_kwargs: dict[str, Any] | None = None
    tokenizer_kwargs: dict[str, Any] | None = None
    config_kwargs: dict[str, Any] | None = None
    early_exit: bool = False

    @property
    def is_local(self) -> bool:
        """Whether the model is a folder of this machine."""
        return Path(resolve_model(self.model)).is_dir()

    def loading_settings(self) -> dict[str, Any]:
        """Return what, besides the model's files, decides about its outputs."""
        return {
            "model_kwargs": self.model_kwargs or {},
            "tokenizer_kwargs": self.tokenizer_kwargs or {},
            "config_kwargs": self.config_kwargs or {},
            "early_exit": self.early_exit,
        }


def bundled_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(path.parent.name for path in BUNDLED_FOLDER.glob("*/config.json"))


def resolve_model(model: str) -> str:
    """
    Turn what a user wrote into a folder or a Hub id.

    :param model: A bundled name, a folder, or a Hub id.
    :returns: The folder, or the Hub id as it was; whether it exists on the Hub shows at loading.
    :raises ModelError: If it is none of these.
    """
    if model in bundled_models():
        return str(BUNDLED_FOLDER / model)
    path = Path(model).expanduser()
    if path.is_dir():
        return str(path)
    is_hub_id = model.count("/") == 1 and not model.startswith((".", "/", "~")) and not model.endswith("/")
    if not is_hub_id:
        raise ModelError(
            f"unknown model {model!r}: there is no such folder; bundled models are {bundled_models()}, "
            "and a model of the Hub is written owner/name"
        )
    return model


def find_config(spec: ModelSpec) -> Path:
    """
    Find the configuration of a model, without transformers and torch.

    :param spec: Which model. Of a Hub id the newest commit is asked for, or without network the newest in the Hub's cache.
    :returns: Its config.json; for a Hub id the folder around it is named after the commit.
    :raises ModelError: If there is none.
    """
    source = resolve_model(spec.model)
    _check_folder(source)
    if Path(source).is_dir():
        return Path(source) / "config.json"
    from huggingface_hub import hf_hub_download

    revision = (spec.model_kwargs or {}).get("revision")
    try:
        return Path(hf_hub_download(source, "config.json", revision=revision, token=spec.token))
    except (OSError, ValueError) as error:
        raise not_loaded(spec.model, error) from error


def load_cross_encoder(spec: ModelSpec) -> "CrossEncoder":
    """
    Load the model in torch.

    :param spec: Which model, and how.
    :returns: The model in evaluation mode, on its device.
    :raises ModelError: If it cannot be found or read, or is no cross-encoder with one output.
    """
    source = resolve_model(spec.model)
    _check_folder(source)
    from sentence_transformers import CrossEncoder
    from transformers import AutoConfig

    hub = {"token": spec.token, "trust_remote_code": spec.trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(source, **hub, **(spec.config_kwargs or {}))
        _check_architecture(spec, config.architectures or [], config.num_labels)
        model: CrossEncoder = CrossEncoder(
            source,
            device=spec.device,
            **hub,
            model_kwargs=spec.model_kwargs,
            processor_kwargs=spec.tokenizer_kwargs,
            config_kwargs=spec.config_kwargs,
        )
    except ModelError:
        raise
    except (OSError, ValueError) as error:
        raise not_loaded(spec.model, error) from error
    if spec.early_exit:
        cut_to_exit(model, EarlyExitHead.load(Path(source)))
    return model.eval()


def not_loaded(model: str, error: Exception) -> ModelError:
    """
    Say in a line why a model could not be loaded.

    :param model: What the user wrote.
    :param error: What transformers said.
    """
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelError(
        f"model {model!r} cannot be loaded: {reason} (bundled models, which need no network: {bundled_models()})"
    )


def _check_folder(source: str) -> None:
    """Look at a local folder before transformers does, whose message would speak of the Hub."""
    folder = Path(source)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is no model: it has no config.json")


def _check_architecture(spec: ModelSpec, architectures: list[str], num_labels: int) -> None:
    is_classifier = any(name.endswith("ForSequenceClassification") for name in architectures)
    if not is_classifier and not spec.trust_remote_code:
        # sentence-transformers would load an embedding model too, under a head of random weights.
        raise ModelError(
            f"model {spec.model!r} is no cross-encoder: its architecture is {architectures or 'not given'}, "
            "a cross-encoder has one that ends in ForSequenceClassification"
        )
    if num_labels != 1:
        raise ModelError(f"model {spec.model!r} has {num_labels} outputs; a reranker needs a cross-encoder with 1")
