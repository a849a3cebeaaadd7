"""What the page may do."""

from dataclasses import dataclass

from rerank_plugin.checks import check_count, check_text, shown
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.serving.settings import MEGABYTE

# Variables that may hold the key of the chat server, the first that is set.
CHAT_KEYS = ("RERANK_CHAT_KEY", "OPENAI_API_KEY")


@dataclass(frozen=True)
class ChatSettings:
    """
    The chat model that writes answers.

    :param url: Base address of a server that speaks OpenAI's chat protocol, such as `http://127.0.0.1:11434/v1`.
    :param model: The model's name there.
    :raises InvalidValueError: If one of them cannot be used.
    """

    url: str
    model: str

    def __post_init__(self) -> None:
        check_text("chat model", self.model)
        if not self.url.startswith(("http://", "https://")):
            raise InvalidValueError(
                f"--chat-url {shown(self.url)} must be the base address of a chat server, such as http://127.0.0.1:11434/v1"
            )


@dataclass(frozen=True)
class PageSettings:
    """
    What the page may do.

    :param writable: Whether visitors may add files to the index, and remove them.
    :param judging: Whether visitors may judge hits; judgements are stored in the index.
    :param max_upload_bytes: Maximum size of a file that is added.
    :param chat: The chat model that writes answers; `None`: no answers.
    :param embedding_model: Replaces the embedding model of the indexing pipeline.
    :raises InvalidValueError: If a value is out of range.
    """

    writable: bool = False
    judging: bool = True
    max_upload_bytes: int = 20 * MEGABYTE
    chat: ChatSettings | None = None
    embedding_model: str | None = None

    def __post_init__(self) -> None:
        check_count("max_upload_bytes", self.max_upload_bytes)
