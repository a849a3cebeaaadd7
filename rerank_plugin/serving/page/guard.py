"""What keeps other sites from using the page's endpoints through a visitor's browser."""

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from rerank_plugin.serving.exchange import problem_response
from rerank_plugin.serving.problems import Problem

# Nothing but our own files, and no code in the markup. Texts of documents only ever become text nodes, which the browser
# enforces, too: with trusted types, a script cannot turn a string into markup.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

GUARDED = ("/page/", "/judgements")
SAFE_METHODS = frozenset(["GET", "HEAD", "OPTIONS"])
# A form of another site can send neither without asking first, which is refused.
MEDIA_TYPES = frozenset(["application/json", "application/octet-stream"])


class SameOriginGuard:
    """
    Refuses what a page of another origin may have sent: changes from elsewhere, and bodies that any form can send.

    Without keys, a server of this machine is also only spoken to by an address or as `localhost`: a name of someone else's
    that leads here makes their page one of the same origin (DNS rebinding).

    :param app: The application within.
    :param origins: Other origins that are trusted.
    :param needs_local_name: Whether the server is one of this machine, and has no keys.
    """

    def __init__(self, app: ASGIApp, *, origins: Sequence[str], needs_local_name: bool) -> None:
        self._app, self._origins, self._needs_local_name = app, frozenset(origins), needs_local_name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        problem = None
        if scope["type"] == "http" and scope["path"].startswith(GUARDED):
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            problem = self._problem(scope["method"], headers)
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem_response(problem)(scope, receive, send)

    def _problem(self, method: str, headers: dict[str, str]) -> Problem | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if origin in self._origins:
            pass
        elif self._needs_local_name and not _is_local_name(host):
            return Problem(
                403,
                "forbidden",
                "this server has no keys and is for this machine only: open it as http://localhost or http://127.0.0.1, or "
                "start it with --keys-file",
            )
        elif method not in SAFE_METHODS and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return Problem(403, "forbidden", "a page of another origin may not change anything: --cors-origin can allow one")
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method not in SAFE_METHODS and media_type not in MEDIA_TYPES:
            return Problem(415, "invalid", f"the body must have one of the types {sorted(MEDIA_TYPES)}: set Content-Type")
        return None


def _is_local_name(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
