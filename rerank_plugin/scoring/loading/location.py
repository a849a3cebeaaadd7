"""First step of loading: find a model's files, and fingerprint them."""

from dataclasses import dataclass, replace
from pathlib import Path

from rerank_plugin.errors import InvalidValueError, ModelError
from rerank_plugin.scoring.loading.fingerprint import fingerprint_folder, fingerprint_name
from rerank_plugin.scoring.loading.hub import hub_state
from rerank_plugin.scoring.loading.spec import HubOptions, ModelSpec, bundled_models, not_loaded, resolve_model

CONFIG = "config.json"
# Copies of the weights for other frameworks.
OTHER_FRAMEWORKS = [
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.onnx",
    "*.tflite",
    "*.gguf",
    "onnx/*",
    "openvino/*",
    "*/onnx/*",
    "*/openvino/*",
]
# Modules of sentence-transformers that have a configuration only.
WITHOUT_WEIGHTS = ("_Pooling", "_LogitScore", "_Normalize", "_Dropout")
PICKLES = ["*.bin", "*.pt", "*.pth", "*.ckpt"]


@dataclass(frozen=True)
class LocatedModel:
    """
    A model whose files were found.

    :param spec: The model, and how to load it.
    :param folder: The folder of its config.json. For a Hub model it may hold nothing else yet, see `fetch`.
    :param commit: The commit on the Hub; `None` for a local folder.
    :param fingerprint: Identifies the model and its loading settings.
    """

    spec: ModelSpec
    folder: Path
    commit: str | None
    fingerprint: str


def locate(spec: ModelSpec) -> LocatedModel:
    """
    Find a model, without transformers and torch. Of a Hub model only the configuration is downloaded.

    :param spec: The model. A Hub branch or tag is resolved to its commit here, once for all later steps; offline, to the
        commit in the Hub's cache.
    :returns: The model.
    :raises ModelError: If there is no such model, or its files cannot be read.
    :raises InvalidValueError: If its options contradict each other.
    """
    source, hub = resolve_model(spec.model), spec.hub_options()
    settings = spec.output_settings()
    if not Path(source).is_dir():
        folder, commit = _download_config(spec, source, _usable(hub))
        return LocatedModel(spec, folder, commit, fingerprint_name(f"{source}@{commit}/{hub.subfolder}", settings))
    if hub.revision is not None:
        raise InvalidValueError(
            f"revision {hub.revision!r} selects a commit on the Hub, but model {spec.model!r} is a folder: "
            "leave revision out"
        )
    folder = Path(source, hub.subfolder)
    if not folder.resolve().is_relative_to(Path(source).resolve()):
        raise InvalidValueError(f"subfolder {hub.subfolder!r} is not inside model {spec.model!r}: give a folder below it")
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} is not a model: it has no {CONFIG}")
    try:
        return LocatedModel(spec, folder, None, fingerprint_folder(folder, settings))
    except OSError as error:
        raise ModelError(f"model {spec.model!r} cannot be read: {error.filename}: {error.strerror}") from error


def fetch(located: LocatedModel) -> Path:
    """
    Download the missing files of a Hub model, from the commit that was located.

    :param located: The model.
    :returns: The folder with configuration, tokenizer and weights, all of one commit.
    :raises ModelError: If the Hub cannot be reached, or refuses the download.
    """
    if located.commit is None:
        return located.folder
    from huggingface_hub import snapshot_download

    hub = _usable(located.spec.hub_options())
    within = f"{hub.subfolder.strip('/')}/" if hub.subfolder else ""
    try:
        for unwanted in ([*OTHER_FRAMEWORKS, *PICKLES], OTHER_FRAMEWORKS):  # first without pickled weights
            snapshot_download(
                resolve_model(located.spec.model),
                revision=located.commit,
                token=hub.token,
                cache_dir=hub.cache_dir,
                local_files_only=hub.local_files_only,
                force_download=hub.force_download,
                allow_patterns=f"{within}*",
                ignore_patterns=unwanted,
            )
            if has_weights(located.folder):
                break  # the pickled copy of the same weights is not needed
    except (OSError, ValueError) as error:
        raise _not_fetched(located.spec, error) from error
    return located.folder


def has_weights(folder: Path) -> bool:
    """
    Return whether the folder has weights that are not pickled, of the network and of all modules that have some.

    :param folder: The folder of a model, perhaps with folders of its modules.
    """
    modules = [module for module in folder.glob("[0-9]*_*") if (module / CONFIG).is_file()]
    without = [module for module in modules if not any(module.glob("*.safetensors"))]
    return any(folder.glob("*.safetensors")) and all(module.name.endswith(WITHOUT_WEIGHTS) for module in without)


def _download_config(spec: ModelSpec, source: str, hub: HubOptions) -> tuple[Path, str]:
    """Return the folder of the configuration in the Hub's cache, and its commit."""
    from huggingface_hub import hf_hub_download

    try:
        config = Path(
            hf_hub_download(
                source,
                CONFIG,
                subfolder=hub.subfolder or None,
                revision=hub.revision,
                token=hub.token,
                cache_dir=hub.cache_dir,
                local_files_only=hub.local_files_only,
                force_download=hub.force_download,
            )
        )
    except (OSError, ValueError) as error:
        raise _not_fetched(spec, error) from error
    # .../models--owner--name/snapshots/<commit>/<subfolder>/config.json
    parts = config.parts
    return config.parent, parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1]


def _usable(hub: HubOptions) -> HubOptions:
    """Return the options with the local cache alone, where the Hub cannot be reached."""
    return hub if hub.local_files_only or hub_state().is_reachable else replace(hub, local_files_only=True)


def _not_fetched(spec: ModelSpec, error: Exception) -> ModelError:
    if spec.hub_options().local_files_only or hub_state().is_reachable:
        return not_loaded(spec.model, error)
    return ModelError(
        f"model {spec.model!r} cannot be loaded: not all of its files are in the Hub's cache on this machine, and the Hub "
        f"cannot be reached ({hub_state().problem}): choose a bundled model, which needs no network "
        f"({bundled_models()}), or pass a folder that holds the model"
    )
