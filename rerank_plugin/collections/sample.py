"""The sample corpus that is distributed with the package."""

from pathlib import Path


def sample_corpus() -> Path:
    """Return the folder of the sample corpus: inside an installed package, or next to the package in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "sample_corpus"
    return installed if installed.is_dir() else package.parent / "sample_corpus"
