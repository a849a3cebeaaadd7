"""A model as a backend's own file, with its tokenizer: converted once, then read from disk without torch."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rerank_plugin.errors import MissingDependencyError, ModelError, RerankError
from rerank_plugin.scoring.loading.conversions import Conversion, find_or_convert
from rerank_plugin.scoring.loading.location import LocatedModel
from rerank_plugin.scoring.loading.torch_model import TorchModel, load_in_torch
from rerank_plugin.scoring.tokens import PairTokenizer


@dataclass(frozen=True)
class ConversionRecipe:
    """
    How a backend makes its own file of a model.

    :param backend: Its name.
    :param precision: Of the weights in the file.
    :param versions: Of the libraries that the file depends on.
    :param write: Writes the file into the folder that it is given.
    :param needs: Packages that converting takes, beyond those that running takes, each with the message if it is missing.
    """

    backend: str
    precision: str
    versions: str
    write: Callable[[TorchModel, Path], None]
    needs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ConvertedModel:
    """
    A model as a backend's own file.

    :param located: Where it came from.
    :param folder: The folder of what the recipe wrote, checked against its checksums.
    :param tokenizer: Its tokenizer.
    """

    located: LocatedModel
    folder: Path
    tokenizer: PairTokenizer


def open_converted(located: LocatedModel, recipe: ConversionRecipe) -> ConvertedModel:
    """
    Find the converted copy of a model, or make it.

    :param located: The model.
    :param recipe: How to convert it.
    :returns: The copy, with its tokenizer.
    :raises ModelError: If the model cannot be loaded or converted, or the copy cannot be kept.
    :raises MissingDependencyError: If converting needs a package that is not installed; before anything is loaded.
    """

    def write(folder: Path) -> None:
        for package, message in recipe.needs:
            if find_spec(package) is None:
                raise MissingDependencyError(message)
        model = load_in_torch(located)
        try:
            recipe.write(model, folder)
        except (RerankError, OSError, MemoryError):
            raise
        except Exception as error:  # what the exporters make of a network that they do not know
            raise ModelError(
                f"model {located.spec.model!r} cannot be converted for backend {recipe.backend!r}: "
                f"{' '.join(str(error).split())[:200] or type(error).__name__}; "
                "choose backend 'torch', which converts nothing"
            ) from error
        model.tokenizer.save(folder)

    name = Path(located.spec.model).name
    folder = find_or_convert(Conversion(located.fingerprint, recipe.backend, recipe.precision, recipe.versions, name), write)
    try:
        return ConvertedModel(located, folder, PairTokenizer.load(folder))
    except Exception as error:  # the checksums are right: another version of the library wrote or reads it differently
        raise ModelError(
            f"the tokenizer in {folder} cannot be read ({' '.join(str(error).split())}): "
            "delete the folder, the model is converted again then"
        ) from error
