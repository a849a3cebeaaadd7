"""The folder of a model: which files belong to it, and which are left over from an earlier model."""

from pathlib import Path

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring import calibration, early_exit
from rerank_plugin.scoring.loading.spec import resolve_model
from rerank_plugin.training.recipe.request import TrainingRequest

CONFIG = "config.json"
CARD = "README.md"
# Files that belong to a model's weights. Beside other weights they would be wrong without any error.
SIDE_FILES = (
    calibration.FILE_NAME,
    early_exit.FILE_NAME,
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model-*-of-*.bin",
    "pytorch_model.bin.index.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "onnx/*.onnx",
    "onnx/*.onnx_data",
    "openvino/openvino_*.xml",
    "openvino/openvino_*.bin",
)
OUR_CARD = "`rerank train`"


def check_output(request: TrainingRequest) -> None:
    """
    Refuse an output folder that is also an input: the base model would be overwritten.

    :param request: The run.
    :raises InvalidValueError: If base model or teacher are in the output folder.
    """
    output = request.output.resolve()
    if request.output.exists() and not request.output.is_dir():
        raise InvalidValueError(f"output {request.output} is a file: choose a folder")
    for role, model in (("base model", request.config.model), ("teacher", request.teacher)):
        if model is not None and not model.endswith(".jsonl") and Path(resolve_model(model)).resolve() == output:
            raise InvalidValueError(f"output {request.output} is the folder of the {role}: choose another output")


def stale_files(folder: Path, new: set[str]) -> list[Path]:
    """
    List the files of an earlier model that a new one does not overwrite.

    Only known names of model files are listed, and only in the folder of a model: other files are never touched.

    :param folder: The folder.
    :param new: Names of the new model's files.
    """
    if not (folder / CONFIG).exists():
        return []
    stale = []
    for pattern in SIDE_FILES:
        for path in sorted(folder.glob(pattern)):
            inside = path.parent == folder or not path.parent.is_symlink()
            if path.is_file() and inside and path.relative_to(folder).as_posix() not in new:
                stale.append(path)
    return stale


def keep_foreign_card(folder: Path) -> str | None:
    """
    Rename a README.md that was not written by a training run, before a card replaces it.

    :param folder: The folder.
    :returns: The new name; `None` if there was nothing to keep.
    """
    card = folder / CARD
    if not card.is_file() or OUR_CARD in card.read_text(encoding="utf-8", errors="replace"):
        return None
    number = 1
    while (kept := folder / f"README.old{'' if number == 1 else number}.md").exists():
        number += 1
    card.rename(kept)
    return kept.name
