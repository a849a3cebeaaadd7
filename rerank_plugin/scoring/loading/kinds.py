"""What kind of model a folder holds: a reranker, or which of the others that sentence-transformers also saves."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.loading.spec import ModelSpec, bundled_models

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

MODULES = "modules.json"
ST_CONFIG = "config_sentence_transformers.json"
RERANKER = "CrossEncoder"
# `model_type` in config_sentence_transformers.json; without one, sentence-transformers takes a chain for the first.
OTHER_KINDS = {
    "SentenceTransformer": "an embedding model",
    "SparseEncoder": "a sparse embedding model",
    "MultiVectorEncoder": "a multi-vector (late-interaction) model",
}
# Networks that score a query with its whole list of passages in one input: a pair alone has no score.
LISTWISE = ("JinaForRanking",)
LABELS_SHOWN = 5


def remedy() -> str:
    """Return what to do instead."""
    return (
        "choose a reranker that sentence-transformers runs as CrossEncoder, with one output, "
        f"or a bundled model ({bundled_models()})"
    )


def check_saved_kind(spec: ModelSpec, folder: Path) -> None:
    """
    Refuse what the folder itself says is no reranker, before anything is loaded.

    sentence-transformers would make a cross-encoder of it, with an output layer of random weights.

    :param spec: The model.
    :param folder: Its folder.
    :raises ModelError: If it is an embedding model or a listwise reranker.
    """
    if (folder / MODULES).is_file():
        kind = _read(folder / ST_CONFIG).get("model_type", "SentenceTransformer")
        if kind != RERANKER:
            raise ModelError(
                f"model {spec.model!r} is not a cross-encoder: sentence-transformers saved it as "
                f"{OTHER_KINDS.get(kind, f'a {kind}')}, which scores no pairs: {remedy()}"
            )
    listwise = [name for name in architectures(folder) if name in LISTWISE]
    if listwise:
        raise ModelError(
            f"model {spec.model!r} is a listwise reranker ({listwise[0]}): it reads a query with all passages at once, "
            f"by code of its own, and scores no single pair: {remedy()}"
        )


def check_one_score(spec: ModelSpec, model: "CrossEncoder") -> None:
    """
    Refuse a model that does not read a pair of texts, or has several outputs.

    :param spec: The model.
    :param model: The model, loaded.
    :raises ModelError: If it is not a reranker of texts with one output.
    """
    if model.num_labels != 1:
        labels = list((getattr(model.config, "id2label", None) or {}).values())
        names = ", ".join(map(str, labels[:LABELS_SHOWN])) + (", ..." if len(labels) > LABELS_SHOWN else "")
        raise ModelError(
            f"model {spec.model!r} has {model.num_labels} outputs ({names}): it is a classifier, and a reranker needs one "
            f"score for a pair: {remedy()}"
        )
    last = cast("Any", model[-1])
    if getattr(last, "true_token_id", None) is not None and last.true_token_id == last.false_token_id:
        # sentence-transformers takes 'yes' and 'no' where nothing else is saved; an unknown token is the same for both.
        raise ModelError(
            f"model {spec.model!r} is a language model whose tokenizer has no tokens 'yes' and 'no' to score a pair by: "
            f"{remedy()}"
        )
    modalities = cast("Any", model).modalities
    if "text" not in modalities and "message" not in modalities:
        raise ModelError(f"model {spec.model!r} reads {', '.join(map(str, modalities))}, not texts: {remedy()}")


def no_head(spec: ModelSpec, folder: Path) -> ModelError:
    """
    Explain that a network has no output layer for a score.

    :param spec: The model.
    :param folder: Its folder.
    """
    return ModelError(
        f"model {spec.model!r} is not a cross-encoder: its architecture is {architectures(folder) or 'not given'}, an "
        "embedding or language model without an output layer that scores a pair: fine-tune it first (`rerank train`), "
        f"or {remedy()}"
    )


def architectures(folder: Path) -> list[str]:
    """Return the names of the networks that config.json gives."""
    names = _read(folder / "config.json").get("architectures")
    return [str(name) for name in names] if isinstance(names, list) else []


def _read(file: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one if there is none: loading names what is damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
