"""
Build a smaller start for a student: some layers of a trained cross-encoder, and the pieces of its vocabulary needed for English.

    python benchmarks/bundled_model/shorten.py MODEL --layers 0,2,3,4,5,6,7,10 --lists WORK/lists-en.pickle --pieces 27000 --output FOLDER

Pieces with Cyrillic letters are removed, then those that are rarest in the student's training lists. A word whose piece is removed
is split into smaller pieces, with unchanged embeddings. Dropping layers costs much of the quality until the model is trained
again, but that takes far less training than an encoder that was never a ranker.
Sajjad et al. (2023), "On the effect of dropping layers of pre-trained transformer models".
"""

import argparse
import json
import re
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from train import read

from rerank_plugin.scoring.calibration import FILE_NAME as CALIBRATION
from rerank_plugin.training.output.save import CONFIG, WEIGHTS

LAYER = re.compile(r"(bert\.encoder\.layer\.)(\d+)(\..*)")
EMBEDDINGS = "bert.embeddings.word_embeddings.weight"
CYRILLIC = re.compile("[\u0400-\u04ff]")
LETTER = re.compile(r"\u2581?[\x20-\u03ff]")  # Latin, Greek, digits, punctuation: no word made of them may become unknown
TOKENIZER = "tokenizer.json"
TEXTS_AT_ONCE = 5_000


def frequencies(tokenizer: Path, texts: list[str], size: int) -> np.ndarray:
    """Count how often each piece of a vocabulary of this size occurs in the texts."""
    splitter = Tokenizer.from_file(str(tokenizer))
    splitter.no_truncation()
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        for encoding in splitter.encode_batch(texts[start : start + TEXTS_AT_ONCE], add_special_tokens=False):
            np.add.at(counts, encoding.ids, 1)
    return counts


def rows_to_keep(pieces: list[str], specials: int, counts: np.ndarray, most: int) -> list[int]:
    """Return the rows of the special tokens, of all letters, and of the most frequent pieces that are not Cyrillic."""
    needed, others = [], []
    for row, piece in enumerate(pieces):
        if row < specials or LETTER.fullmatch(piece):
            needed.append(row)
        elif not CYRILLIC.search(piece):
            others.append(row)
    others.sort(key=lambda row: -counts[row])
    return sorted(needed + others[: max(0, most - len(needed))])


def main() -> None:
    """Read the model, and write the smaller one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--layers", required=True, help="positions of the layers to keep, from 0")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--lists", type=Path, required=True, help="lists of `train.py lists-en`, for the piece frequencies")
    parser.add_argument("--pieces", type=int, required=True, help="maximum number of pieces to keep")
    options = parser.parse_args()
    layers = [int(position) for position in options.layers.split(",")]
    options.output.mkdir(parents=True, exist_ok=True)

    tokenizer = json.loads((options.model / TOKENIZER).read_text(encoding="utf-8"))
    pieces = tokenizer["model"]["vocab"]
    specials = [token["id"] for token in tokenizer["added_tokens"]]
    if sorted(specials) != list(range(len(specials))):
        parser.error(
            f"{options.model / TOKENIZER}: special tokens have the ids {specials} instead of the first ones, so they would move"
        )
    lists = read(options.lists)
    counts = frequencies(options.model / TOKENIZER, lists.queries + lists.passages, len(pieces))
    kept = rows_to_keep([piece for piece, _score in pieces], len(specials), counts, options.pieces)
    tokenizer["model"]["vocab"] = [pieces[row] for row in kept]
    (options.output / TOKENIZER).write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")

    weights: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(options.model / WEIGHTS).items():
        layer = LAYER.fullmatch(name)
        if name == EMBEDDINGS:
            weights[name] = tensor[kept].clone()
        elif layer is None:
            weights[name] = tensor
        elif int(layer[2]) in layers:
            weights[f"{layer[1]}{layers.index(int(layer[2]))}{layer[3]}"] = tensor
    save_file(weights, options.output / WEIGHTS, metadata={"format": "pt"})

    config = json.loads((options.model / CONFIG).read_text(encoding="utf-8"))
    config |= {"num_hidden_layers": len(layers), "vocab_size": len(kept)}
    (options.output / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for file in options.model.glob("*.json"):
        if file.name not in (CONFIG, TOKENIZER, CALIBRATION):  # the calibration is valid for the whole model only
            shutil.copyfile(file, options.output / file.name)
    print(f"layers {layers}, {len(kept)} of {len(pieces)} pieces")


if __name__ == "__main__":
    main()
