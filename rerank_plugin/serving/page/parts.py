"""What the page can do with an index, put together from the server's searches and the page's settings."""

from functools import partial
from typing import Any

import yaml

from rerank_plugin.components.converters.types import BY_SUFFIX
from rerank_plugin.components.ranker import CrossEncoderRanker
from rerank_plugin.pipelines import STORE_TYPE
from rerank_plugin.pipelines.yaml_file import init_parameters
from rerank_plugin.serving.page.answers import Answers
from rerank_plugin.serving.page.facets import Facets
from rerank_plugin.serving.page.library import Library
from rerank_plugin.serving.page.search import PageSearch, VariantBody
from rerank_plugin.serving.page.settings import PageSettings
from rerank_plugin.serving.page.variants import Variants
from rerank_plugin.serving.page.whole_documents import WholeDocuments
from rerank_plugin.serving.page.why_not import WhyNot
from rerank_plugin.serving.search_service import SearchService

# What a copied pipeline says instead of the folder on this machine.
SHOWN_INDEX = "index"


class PageParts:
    """
    The parts of the page that need an index.

    :param service: The server's searches.
    :param settings: What the page may do.
    :raises InvalidValueError: If the index cannot be changed, and the page shall.
    """

    def __init__(self, service: SearchService, settings: PageSettings) -> None:
        self._service, self._settings = service, settings
        self.variants = Variants(service)
        self.searches = PageSearch(service, self.variants)
        self.why_not = WhyNot(service, self.variants, self.searches)
        self.facets = Facets(service)
        self.whole_documents = WholeDocuments(service, self.searches)
        self.library = Library(service, settings) if settings.writable else None
        self.answers = None if settings.chat is None else Answers(settings.chat, service, self.searches, self.variants)

    async def description(self) -> dict[str, Any]:
        """Return what the page can do."""
        settings = self._settings
        return {
            "index": self._service.index.expanduser().resolve().name,
            "documents": await self._service.run(self._service.store.count_documents),
            "pipelines": [self._pipeline(name) for name in self._service.names],
            "chat": None if settings.chat is None else settings.chat.model,
            "upload": None
            if self.library is None
            else {"max_bytes": settings.max_upload_bytes, "suffixes": _readable_suffixes()},
        }

    async def definition(self, body: VariantBody) -> dict[str, Any]:
        """Return the YAML of a pipeline, with the index in the folder `index`."""
        data = self.variants.definition(self.searches.variant(body))
        for parameters in init_parameters(data, STORE_TYPE):
            if "path" in parameters:
                parameters["path"] = SHOWN_INDEX
        dump = partial(yaml.safe_dump, sort_keys=False, allow_unicode=True, default_flow_style=False)
        return {"yaml": dump({name: data[name] for name in ("components", "connections") if name in data})}

    def close(self) -> None:
        """Release the models of variants, and wait for the file that is being indexed."""
        if self.library is not None:
            self.library.close()
        self.variants.close()

    def _pipeline(self, name: str) -> dict[str, Any]:
        data = self.variants.definition(self.searches.variant(VariantBody(pipeline=name)))
        rankers = list(init_parameters(data, f".{CrossEncoderRanker.__name__}"))
        return {
            "name": name,
            "has_second_stage": self._service.searcher(name).has_second_stage,
            "fusion": rankers[0].get("fusion", "none") if rankers else None,
            "precision": rankers[0].get("precision", "auto") if rankers else None,
            "has_ranker": bool(rankers),
        }


def _readable_suffixes() -> list[str]:
    return sorted(suffix for suffix, kind in BY_SUFFIX.items() if kind.is_readable)
