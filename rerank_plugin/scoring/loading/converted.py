"""A model in a backend's own format, with its tokenizer: converted once, then read from disk without torch."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rerank_plugin.errors import MissingDependencyError, ModelError, RerankError, reason_of
from rerank_plugin.quiet import quiet_libraries
from rerank_plugin.scoring.loading.conversions import Conversion, find_or_convert
from rerank_plugin.scoring.loading.location import LocatedModel
from rerank_plugin.scoring.loading.torch_model import TorchModel, load_in_torch
from rerank_plugin.scoring.tokens import PairTokenizer


@dataclass(frozen=True)
class ConversionRecipe:
    """
    How a model is converted to a backend's own format.

    :param backend: Name of the backend.
    :param precision: Precision of the stored weights.
    :param versions: Versions of the libraries that the file depends on.
    :param write: Writes the file into the folder that it is given.
    :param needs: Packages needed to convert, beyond those needed to run, each with the error message if it is missing.
    """

    backend: str
    precision: str
    versions: str
    write: Callable[[TorchModel, Path], None]
    needs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ConvertedModel:
    """
    A model in a backend's own format.

    :param located: The model that it was converted from.
    :param folder: The folder that the recipe wrote, checked against its checksums.
    :param tokenizer: Its tokenizer.
    """

    located: LocatedModel
    folder: Path
    tokenizer: PairTokenizer


def open_converted(located: LocatedModel, recipe: ConversionRecipe) -> ConvertedModel:
    """
    Open the converted copy of a model; convert the model if there is none.

    :param located: The model.
    :param recipe: How to convert it.
    :returns: The copy, with its tokenizer.
    :raises ModelError: If the model cannot be loaded or converted, or the copy cannot be kept.
    :raises MissingDependencyError: If converting needs a package that is not installed; raised before anything is loaded.
    """

    def write(folder: Path) -> None:
        for package, message in recipe.needs:
            if find_spec(package) is None:
                raise MissingDependencyError(message)
        model = load_in_torch(located)
        try:
            with quiet_libraries():  # exporting touches attributes on which transformers remarks
                recipe.write(model, folder)
        except (RerankError, OSError, MemoryError):
            raise
        except Exception as error:  # whatever an exporter raises for a network that it does not support
            raise ModelError(
                f"model {located.spec.model!r} cannot be converted for backend {recipe.backend!r}: "
                f"{reason_of(error)}; "
                "choose backend 'torch', which converts nothing"
            ) from error
        model.tokenizer.save(folder)

    name = Path(located.spec.model).name
    folder = find_or_convert(Conversion(located.fingerprint, recipe.backend, recipe.precision, recipe.versions, name), write)
    try:
        return ConvertedModel(located, folder, PairTokenizer.load(folder))
    except Exception as error:  # the checksums match, so another version of the library wrote it
        raise ModelError(
            f"the tokenizer in {folder} cannot be read ({reason_of(error)}): "
            "delete the folder, and the model is converted again"
        ) from error
