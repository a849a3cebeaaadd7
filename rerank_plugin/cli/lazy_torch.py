"""Loading torch on first use: Haystack imports it, and a search with a converted model does without."""

import sys
import threading
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

TORCH = "torch"


def postpone_torch() -> None:
    """
    Make `import torch` cheap: the module is loaded when one of its attributes or submodules is first used.

    Haystack imports torch in order to ask for devices, which takes more processor time than everything else that a search
    does before it scores. Nothing happens if torch is not installed, or is loaded already.
    """
    if TORCH in sys.modules:
        return
    spec = find_spec(TORCH)
    if spec is not None and spec.loader is not None:
        sys.modules[TORCH] = _PostponedModule(spec)


class _PostponedModule(ModuleType):
    """
    A module that is loaded when an attribute is asked for that it does not have yet.

    `importlib.util.LazyLoader` does not help here: it counts as use that a second `import` statement looks at `__spec__`.

    :param spec: The spec of the module.
    """

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__loader__, self.__file__ = spec, spec.loader, spec.origin
        self.__dict__["_loading"] = threading.RLock()
        # No `__path__`: to import a submodule, Python asks for it, and so loads the module first.

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        with self.__dict__["_loading"]:
            if type(self) is _PostponedModule and spec is not None and spec.loader is not None:
                self.__class__ = ModuleType  # type: ignore[assignment]
                self.__path__ = list(spec.submodule_search_locations or ())
                spec.loader.exec_module(self)
        return getattr(self, name)
