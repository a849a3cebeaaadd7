"""The request of an adaptation."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rerank_plugin.checks import check_count, check_number, check_text
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.training.recipe.request import Measured

DEFAULT_PIPELINE = "bm25_rerank"
# Passages that queries are generated from; more take long to read and are never all used.
MOST_PASSAGES = 5_000


@dataclass(frozen=True)
class LanguageModel:
    """
    A language model behind an OpenAI-compatible server, which writes questions about passages.

    :param url: Address of its API, such as `http://127.0.0.1:8000/v1`.
    :param model: Name of the model.
    :param calls: Maximum number of calls, which bounds the costs.
    :param key_variable: Environment variable with the key of the server.
    """

    url: str
    model: str
    calls: int = 200
    key_variable: str = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InvalidValueError(
                f"the address of a language model must be like http://127.0.0.1:8000/v1, got {self.url!r}"
            )
        check_text("name of the language model", self.model)
        check_count("calls of the language model", self.calls)


@dataclass(frozen=True)
class AdaptRequest:
    """
    What to adapt, and to what.

    :param sources: An index, a pipeline YAML, or files and folders.
    :param output: Folder for the model.
    :param pipeline: Its first stage finds the candidates, unless a source is a pipeline.
    :param model: Model to start from; `None`: that of the pipeline's ranker.
    :param language: Language of the corpus.
    :param minutes: Time that training and measuring may take on this machine, apart from indexing.
    :param lists: Number of training lists; `None`: as many as fit the time.
    :param teachers: Further cross-encoders whose opinion counts: bundled names, folders, Hub ids or addresses of servers.
    :param queries: File with real queries, one a line; `None`: none.
    :param learned: Judged queries about the corpus, to learn from; `None`: none.
    :param judged: Judged queries about the corpus, for the verdict; `None`: none.
    :param language_model: Writes questions; `None`: none.
    :param seed: Seed of all samples.
    :raises InvalidValueError: If a value is out of range, or there is no source.
    """

    sources: tuple[Path, ...]
    output: Path
    pipeline: str = DEFAULT_PIPELINE
    model: str | None = None
    language: str = "en"
    minutes: float = 30
    lists: int | None = None
    teachers: tuple[str, ...] = ()
    queries: Path | None = None
    learned: Measured | None = None
    judged: Measured | None = None
    language_model: LanguageModel | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        if not self.sources:
            raise InvalidValueError("nothing to adapt to: give an index, a pipeline YAML, or files")
        check_number("minutes", self.minutes, above=0)
        if self.lists is not None:
            check_count("lists", self.lists)

    def settings(self) -> dict[str, Any]:
        """Return what the lists of a run depend on, apart from models and files."""
        own = asdict(self)
        return {
            name: str(own[name])
            for name in ("sources", "pipeline", "model", "language", "queries", "learned", "language_model", "seed")
        }
