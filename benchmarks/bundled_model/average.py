"""
Average the weights of two models trained from the same start; the result often keeps the strengths of both.

    python benchmarks/bundled_model/average.py FIRST SECOND --share 0.5 --output FOLDER

Wortsman et al. (2022), "Robust fine-tuning of zero-shot models" and "Model soups".
"""

import argparse
import shutil
from pathlib import Path

from rerank_plugin.scoring.calibration import FILE_NAME as CALIBRATION
from rerank_plugin.scoring.loading.spec import resolve_model
from rerank_plugin.training.output.average import average_weights
from rerank_plugin.training.output.save import WEIGHTS


def main() -> None:
    """Read both models and write the mean; all other files are copied from the first one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="a bundled name or a folder")
    parser.add_argument("second", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="weight of the second model")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    first = Path(resolve_model(options.first))
    for file in first.glob("*.json"):
        if file.name != CALIBRATION:  # it is valid for the first model's scores only
            shutil.copyfile(file, options.output / file.name)
    shutil.copyfile(options.second / WEIGHTS, options.output / WEIGHTS)
    average_weights(first, options.output, share=options.share)


if __name__ == "__main__":
    main()
