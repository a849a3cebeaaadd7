"""The page itself: one document, one ES module, one style sheet, and the words of its languages."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from rerank_plugin import __version__
from rerank_plugin.serving.page.guard import SECURITY_HEADERS

ASSETS = Path(__file__).parent / "assets"
LANGUAGES = {"en": "English", "ru": "Русский"}
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
ICON = "icon.svg"
FILES = ("page.js", "page.css", ICON)
# What a browser loads before it is told a key.
SHELL_PATHS = frozenset(["/", "/favicon.ico", *(f"/page/assets/{name}" for name in FILES)])
# A page names its files with their fingerprint, so a browser may keep them.
KEPT = "public, max-age=31536000, immutable"


class PageShell:
    """
    The files of the page. They hold nothing of the index, so that they need no key.

    :param needs_key: Whether the page has to ask its visitor for a key.
    """

    def __init__(self, *, needs_key: bool) -> None:
        self._needs_key = needs_key

    async def page(self, request: Request) -> Response:
        """Return the page in the language that the visitor chose, or else the browser prefers."""
        language = language_of(request.query_params.get("lang"), request.headers.get("accept-language", ""))
        body = self._template.render(
            language=language,
            languages=LANGUAGES,
            words=self._words[language],
            texts=json.dumps(self._words[language], ensure_ascii=False),
            version=__version__,
            fingerprint=self._fingerprint,
            needs_key=self._needs_key,
        )
        headers = {**SECURITY_HEADERS, "cache-control": "no-cache", "vary": "accept-language", "content-language": language}
        return Response(body, media_type="text/html; charset=utf-8", headers=headers)

    async def file(self, request: Request) -> Response:
        """Return one of its files."""
        name = request.path_params["name"]
        return self._sent(name) if name in FILES else Response(status_code=404, headers=SECURITY_HEADERS)

    async def icon(self, request: Request) -> Response:  # noqa: ARG002 - the interface of endpoints
        """Return the icon, for browsers that ask for it by its old name."""
        return self._sent(ICON)

    def _sent(self, name: str) -> Response:
        headers = {**SECURITY_HEADERS, "cache-control": KEPT}
        return Response(self._files[name], media_type=MEDIA_TYPES[Path(name).suffix], headers=headers)

    @cached_property
    def _files(self) -> dict[str, bytes]:
        return {name: (ASSETS / name).read_bytes() for name in FILES}

    @cached_property
    def _fingerprint(self) -> str:
        return hashlib.sha256(b"".join(self._files.values())).hexdigest()[:12]

    @cached_property
    def _words(self) -> dict[str, dict[str, Any]]:
        return {name: json.loads((ASSETS / f"words.{name}.json").read_text(encoding="utf-8")) for name in LANGUAGES}

    @cached_property
    def _template(self) -> Any:
        environment = Environment(
            loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        return environment.get_template("page.html")


def language_of(chosen: str | None, accepted: str) -> str:
    """
    Return the language of the page.

    :param chosen: What the address says; another language than ours counts as none.
    :param accepted: The header `Accept-Language`.
    """
    if chosen in LANGUAGES:
        return chosen
    weighted = []
    for position, part in enumerate(accepted.split(",")):
        name, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            weight = 0.0
        weighted.append((-weight, position, name.split("-")[0].lower()))
    return next((name for _, _, name in sorted(weighted) if name in LANGUAGES), "en")
