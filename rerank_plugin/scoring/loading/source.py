"""A model on its way into a backend: which one it is, its converted copy on disk, its weights only if they are needed."""

import os
from collections.abc import Callable
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.loading.conversions import Conversion, find_or_convert
from rerank_plugin.scoring.loading.fingerprint import fingerprint_folder, fingerprint_name
from rerank_plugin.scoring.loading.spec import ModelSpec, find_config, load_cross_encoder
from rerank_plugin.scoring.tokens import PairTokenizer

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class ModelSource:
    """
    What a backend is made from. Nothing is read before it is asked for.

    :param spec: Which model, and how to load it.
    :param precision: The precision that was asked for.
    :param num_threads: Threads of the backend; `None` leaves it to the backend.
    :param compile_torch: Whether the torch backend compiles the model.
    :ivar folder: Of the converted copy, once a backend has asked for it.
    """

    def __init__(
        self, spec: ModelSpec, *, precision: str, num_threads: int | None = None, compile_torch: bool = False
    ) -> None:
        self.spec = spec
        self.precision = precision
        self.num_threads = num_threads
        self.compile_torch = compile_torch
        self._tokenizer: PairTokenizer | None = None
        self.folder: Path | None = None

    @cached_property
    def config_file(self) -> Path:
        """The model's config.json: in its folder, or in the Hub's cache under the commit it belongs to."""
        return find_config(self.spec)

    @cached_property
    def fingerprint(self) -> str:
        """What tells the model apart from others: a hash of its files, or of its Hub id and commit."""
        settings = self.spec.loading_settings()
        if self.spec.is_local:
            return fingerprint_folder(self.config_file.parent, settings)
        return fingerprint_name(f"{self.spec.model}@{self.config_file.parent.name}", settings)

    @cached_property
    def cross_encoder(self) -> "CrossEncoder":
        """
        The model in torch, on its device.

        :raises ModelError: If it cannot be loaded, or is no cross-encoder with one output.
        """
        return load_cross_encoder(self.spec)

    @property
    def tokenizer(self) -> PairTokenizer:
        """The model's tokenizer: from the converted copy if there is one, else from the model."""
        if self._tokenizer is None:
            model = self.cross_encoder
            self._tokenizer = PairTokenizer.of(model.tokenizer, max_length=model.max_seq_length)
        return self._tokenizer

    def converted(self, backend: str, precision: str, versions: str, write: Callable[[Path], None]) -> Path:
        """
        Find the converted copy of the model, or make it.

        :param backend: The backend that it is for.
        :param precision: The precision of its weights.
        :param versions: Of the libraries that the file depends on.
        :param write: Writes the converted model into the folder that it is given.
        :returns: The folder with what `write` wrote.
        """

        def write_with_tokenizer(folder: Path) -> None:
            write(folder)
            self.tokenizer.save(folder)

        conversion = Conversion(self.fingerprint, backend, precision, versions, name=Path(self.spec.model).name)
        folder = self.folder = find_or_convert(conversion, write_with_tokenizer)
        try:
            self._tokenizer = PairTokenizer.load(folder)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"the converted model in {folder} is damaged: delete the folder, it is made anew") from error
        return folder


def available_processors(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """
    Count the processors that this process may use, which in a container are fewer than the machine has.

    :param quota_file: Where Linux' control groups (version 2) say which share of time they allow: quota and period.
    :returns: At least 1.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
        if quota != "max":
            allowed = min(allowed, ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no such group: nothing is rationed
    return max(1, allowed)
