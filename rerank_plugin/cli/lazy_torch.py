"""Loading torch on first use: Haystack imports it, and a search with a converted model does without."""

import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
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
        module = _PostponedModule(spec)
        sys.modules[TORCH] = module
        sys.meta_path.insert(0, module.__dict__["_submodules"])


class _PostponedModule(ModuleType):
    """
    A module that is loaded when an attribute is asked for that it does not have yet.

    `importlib.util.LazyLoader` does not help here: it counts as use that a second `import` statement looks at `__spec__`.

    :param spec: The spec of the module.
    """

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__loader__, self.__file__ = spec, spec.loader, spec.origin
        self.__path__ = list(spec.submodule_search_locations or ())
        self.__dict__.update(_submodules=_SubmoduleFinder(self), _loading=threading.RLock())

    def __getattr__(self, name: str) -> Any:
        _load(self)
        return getattr(self, name)


def _load(module: ModuleType) -> None:
    spec = module.__spec__
    with module.__dict__["_loading"]:
        if isinstance(module, _PostponedModule) and spec is not None and spec.loader is not None:
            module.__class__ = ModuleType  # type: ignore[assignment]
            sys.meta_path.remove(module.__dict__["_submodules"])
            spec.loader.exec_module(module)


class _SubmoduleFinder(MetaPathFinder):
    """
    Loads a postponed module before one of its submodules is imported.

    :param parent: The postponed module.
    """

    def __init__(self, parent: ModuleType) -> None:
        self._parent = parent

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the interface of finders
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Load the parent; return a spec for a submodule that was imported by it, and must not be executed again."""
        if not fullname.startswith(f"{self._parent.__name__}."):
            return None
        _load(self._parent)
        # Python ignores the spec of a module that has appeared in `sys.modules` meanwhile; its loader puts it back there.
        imported = sys.modules.pop(fullname, None)
        return None if imported is None else spec_from_loader(fullname, _ImportedLoader(imported))


class _ImportedLoader(Loader):
    """
    "Loads" a module that is there already.

    :param module: The module.
    """

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002 - the interface of loaders
        """Return the module."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Execute nothing; give the module its own spec back, which Python has just replaced."""
        module.__spec__ = self._spec
