"""What `rerank eval` and `rerank eval --sweep` are asked for, checked before anything is read."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rerank_plugin.checks import check_count, shown
from rerank_plugin.errors import InvalidValueError, PipelineConfigError
from rerank_plugin.evaluation.measures import DEFAULT_MEASURES, check_measures
from rerank_plugin.pipelines import pipeline_names

DEFAULT_PIPELINES = ("bm25", "bm25_rerank")
YAML = (".yaml", ".yml")
# Bytes of a system's name: with an ending it is still the name of a file.
LONGEST_NAME = 200
# Separators of folders, and what other operating systems do not allow in the name of a file.
NOT_IN_NAMES = frozenset('/\\:*?"<>|')


@dataclass(frozen=True)
class EvalRequest:
    """
    What is to be evaluated.

    :param dataset: Folder in BEIR layout or `irds:ID`; `None`: only runs, against `qrels`.
    :param pipelines: Names or YAML files.
    :param runs: Files of runs, by the name that each is shown under.
    :param qrels: A file with judgements, instead of those of the collection.
    :param index: Folder of an index; `None`: one is made for each language, and kept.
    :param split: Which judgements of the collection.
    :param lang: See `Collection.judged`.
    :param language: Language of the keyword index; `None`: the `lang` of the queries, else English.
    :param limit: Most queries; `None`: all.
    :param candidates: Depth of the first stage, and length of the rankings.
    :param measures: Names as ir-measures writes them; the first is the one that is plotted.
    :param baseline: The system that all others are compared with; `None`: the first, and of two stages also their own first.
    :param embedding_model: Instead of the pipelines' own.
    :param output: Folder for answers and report; `None`: nothing is kept.
    """

    dataset: str | None
    pipelines: Sequence[str] = DEFAULT_PIPELINES
    runs: Mapping[str, Path] = field(default_factory=dict)
    qrels: Path | None = None
    index: Path | None = None
    split: str = "test"
    lang: str | None = None
    language: str | None = None
    limit: int | None = None
    candidates: int = 100
    measures: Sequence[str] = DEFAULT_MEASURES
    baseline: str | None = None
    embedding_model: str | None = None
    output: Path | None = None

    @property
    def systems(self) -> list[str]:
        """Names of everything that is measured: pipelines (of a collection), then runs."""
        return [*(map(pipeline_name, self.pipelines) if self.dataset else ()), *self.runs]


def check_request(request: EvalRequest) -> None:
    """
    Check everything that can be checked without reading a file.

    :param request: The request.
    :raises InvalidValueError: If there is nothing to evaluate, or a name, a number or a measure cannot be used.
    :raises PipelineConfigError: If a pipeline is named that does not exist.
    :raises MissingDependencyError: If ir-measures is not installed.
    """
    check_measures(request.measures)
    check_count("candidates", request.candidates)
    if request.limit is not None:
        check_count("limit", request.limit)
    for source in request.pipelines if request.dataset else ():
        if not source.endswith(YAML) and source not in pipeline_names():
            raise PipelineConfigError(
                f"unknown pipeline {shown(source)}: choose one of {pipeline_names()}, or give the path of a .yaml file"
            )
    names = request.systems
    if not names:
        raise InvalidValueError("nothing to evaluate: name a collection, or runs (--run) and judgements (--qrels)")
    check_system_names(names)
    if request.baseline is not None and request.baseline not in names:
        raise InvalidValueError(f"unknown baseline {shown(request.baseline)}: choose one of {names}")
    if request.dataset is None and request.qrels is None:
        raise InvalidValueError("runs are measured against judgements: name the file with --qrels")


def check_system_names(names: Iterable[str]) -> None:
    """
    Check that names can be shown, and be the names of files on any operating system.

    :param names: Of pipelines and runs.
    :raises InvalidValueError: If one is empty, too long, or has characters that cannot be used, or if two are the same name;
        names that differ in capitals or in the way that accents are encoded are the same for some file systems.
    """
    known: dict[str, str] = {}
    for name in names:
        if not name.strip(". "):
            raise InvalidValueError(f"{shown(name)} is no name for a system: give it one, as in --run NAME=FILE")
        bad = [character for character in name if not character.isprintable() or character in NOT_IN_NAMES]
        if bad:
            raise InvalidValueError(
                f"the name {shown(name)} of a system has the character {bad[0]!r}: results are written to files of that "
                "name; use letters, digits, spaces, dots, dashes and underscores"
            )
        if len(name.encode()) > LONGEST_NAME:
            raise InvalidValueError(f"the name {shown(name)} of a system is too long: use at most {LONGEST_NAME} bytes")
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in known:
            raise InvalidValueError(
                f"two systems have one name, {shown(known[folded])} and {shown(name)}: give them names that differ in more "
                "than capitals (NAME=FILE for a run, another file name for a pipeline)"
            )
        known[folded] = name


def pipeline_name(source: str) -> str:
    """Return the name under which a pipeline is shown: its own, or that of its YAML file without the ending."""
    return Path(source).stem if source.endswith(YAML) else source
