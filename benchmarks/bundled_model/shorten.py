"""
Make a smaller start for a student: some layers of a trained cross-encoder, and its vocabulary without pieces of other scripts.

    python benchmarks/bundled_model/shorten.py MODEL --layers 0,3,4,5,6,10 --output FOLDER

A text without the letters that are cut is split into the same pieces, with the same embeddings, as before. Dropping layers
costs most of the quality until the model is trained again, but far less training than an encoder that never ranked.
Sajjad et al. (2023), "On the effect of dropping layers of pre-trained transformer models".
"""

import argparse
import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from rerank_plugin.scoring.calibration import FILE_NAME as CALIBRATION
from rerank_plugin.training.save import CONFIG, WEIGHTS

LAYER = re.compile(r"(bert\.encoder\.layer\.)(\d+)(\..*)")
EMBEDDINGS = "bert.embeddings.word_embeddings.weight"
CYRILLIC = re.compile("[\u0400-\u04ff]")
TOKENIZER = "tokenizer.json"


def main() -> None:
    """Read the model, write the smaller one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--layers", required=True, help="positions of those that stay, counted from 0")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    layers = [int(position) for position in options.layers.split(",")]
    options.output.mkdir(parents=True, exist_ok=True)

    tokenizer = json.loads((options.model / TOKENIZER).read_text(encoding="utf-8"))
    pieces = tokenizer["model"]["vocab"]
    kept = [row for row, (piece, _score) in enumerate(pieces) if not CYRILLIC.search(piece)]
    specials = [token["id"] for token in tokenizer["added_tokens"]]
    if kept[: len(specials)] != sorted(specials):
        parser.error(f"{options.model / TOKENIZER}: special tokens have the ids {specials}, not the first: they would move")
    tokenizer["model"]["vocab"] = [pieces[row] for row in kept]
    (options.output / TOKENIZER).write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")

    weights: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(options.model / WEIGHTS).items():
        found = LAYER.fullmatch(name)
        if name == EMBEDDINGS:
            weights[name] = tensor[kept].clone()
        elif found is None:
            weights[name] = tensor
        elif int(found[2]) in layers:
            weights[f"{found[1]}{layers.index(int(found[2]))}{found[3]}"] = tensor
    save_file(weights, options.output / WEIGHTS, metadata={"format": "pt"})

    config = json.loads((options.model / CONFIG).read_text(encoding="utf-8"))
    config |= {"num_hidden_layers": len(layers), "vocab_size": len(kept)}
    (options.output / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for file in options.model.glob("*.json"):
        if file.name not in (CONFIG, TOKENIZER, CALIBRATION):  # the calibration holds for the scores of the whole model
            shutil.copyfile(file, options.output / file.name)
    print(f"layers {layers}, {len(kept)} of {len(pieces)} pieces")


if __name__ == "__main__":
    main()
