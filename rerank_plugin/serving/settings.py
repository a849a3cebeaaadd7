"""How a server is run: where it listens, who may use it, and how much it takes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from rerank_plugin.checks import check_count, check_number, shown
from rerank_plugin.errors import InvalidValueError

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class RequestLimits:
    """
    How much a request may be.

    :param body_bytes: Maximum size of its body.
    :param body_seconds: Maximum seconds until its body has arrived.
    :param header_seconds: Maximum seconds until its head has arrived.
    :param documents: Maximum number of texts.
    :param text_tokens: Maximum tokens of a text.
    :param tokens: Maximum tokens of all its texts.
    :raises InvalidValueError: If a value is out of range.
    """

    body_bytes: int = 10 * MEGABYTE
    body_seconds: float = 30.0
    header_seconds: float = 10.0
    documents: int = 1000
    text_tokens: int = 100_000
    tokens: int = 1_000_000

    def __post_init__(self) -> None:
        for name in ("body_bytes", "documents", "text_tokens", "tokens"):
            check_count(name, getattr(self, name))
        for name in ("body_seconds", "header_seconds"):
            check_number(name, getattr(self, name), above=0)


@dataclass(frozen=True)
class ServerSettings:
    """
    How a server is run.

    :param host: Address to listen on.
    :param port: Port to listen on; 0: any that is free.
    :param limits: How much a request may be.
    :param max_waiting: Requests that may wait or run at the same time, for all models, and for searches.
    :param max_wait: Seconds that a request may have to wait for its answer: more work is refused.
    :param drain_seconds: Seconds that running requests have to end after SIGTERM.
    :param cors_origins: Origins whose pages may call the server; none unless named.
    :param tls_certificate: File of the certificate, for HTTPS.
    :param tls_key: File of its private key.
    :raises InvalidValueError: If a value is out of range, or only one of the two TLS files is given.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    limits: RequestLimits = field(default_factory=RequestLimits)
    max_waiting: int = 256
    max_wait: float = 30.0
    drain_seconds: int = 30
    cors_origins: Sequence[str] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        check_count("port", self.port, least=0, most=65_535)
        for name in ("max_waiting", "drain_seconds"):
            check_count(name, getattr(self, name))
        check_number("max_wait", self.max_wait, above=0)
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise InvalidValueError("HTTPS needs a certificate and its key: pass --tls-certificate and --tls-key")
        for file in (self.tls_certificate, self.tls_key):
            if file is not None and not file.is_file():
                raise InvalidValueError(f"{file} does not exist or is not a file: check the path")
        for origin in self.cors_origins:
            if "://" not in origin or origin.endswith("/"):
                raise InvalidValueError(
                    f"{shown(origin)} is not an origin: write it as the browser does, such as https://app.example.org"
                )

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can reach the server."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        """The address for clients of this machine."""
        scheme = "http" if self.tls_certificate is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"
