"""Silencing other libraries while they work for this package. Their settings are restored afterwards."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

VERBOSITY = "TRANSFORMERS_VERBOSITY"
TRANSFORMERS = "transformers"

_lock = threading.Lock()
_users = 0
_restore = ExitStack()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """
    Keep transformers and the Hub's client from printing progress bars, load reports and remarks on configurations.

    transformers is not imported for this. Several threads may be inside at the same time. When the last one leaves, every
    setting is what it was before the first one came; transformers, if it was imported meanwhile, has its defaults.
    """
    global _users  # noqa: PLW0603 - the settings belong to the process
    with _lock:
        _users += 1
        if _users == 1:
            _silence(_restore)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _restore.close()


def _silence(stack: ExitStack) -> None:
    hub: Any = import_module("huggingface_hub.utils")
    has_bars = not hub.are_progress_bars_disabled()
    is_chosen = VERBOSITY in os.environ
    if not is_chosen:
        os.environ[VERBOSITY] = "error"  # also for processes that are started meanwhile
        stack.callback(os.environ.pop, VERBOSITY, None)
    if TRANSFORMERS in sys.modules:
        _silence_transformers(stack)
    else:
        # On its import transformers reads the variable, and whether the Hub's client shows bars.
        if not is_chosen:
            stack.callback(_restore_verbosity)
        if has_bars:
            stack.callback(_restore_bars)
    if has_bars:
        hub.disable_progress_bars()
        stack.callback(hub.enable_progress_bars)


def _silence_transformers(stack: ExitStack) -> None:
    transformers = _transformers_settings()
    stack.callback(transformers.set_verbosity, transformers.get_verbosity())
    transformers.set_verbosity_error()
    if transformers.is_progress_bar_enabled():
        transformers.disable_progress_bar()
        stack.callback(transformers.enable_progress_bar)


def _restore_verbosity() -> None:
    if TRANSFORMERS in sys.modules:
        _transformers_settings().set_verbosity_warning()


def _restore_bars() -> None:
    if TRANSFORMERS in sys.modules:
        _transformers_settings().enable_progress_bar()


def _transformers_settings() -> Any:
    return import_module(f"{TRANSFORMERS}.utils.logging")
