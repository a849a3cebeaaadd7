"""The document stores that a pipeline names: which package each needs, where it is, and opening one."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rerank_plugin.errors import MissingDependencyError, PipelineConfigError, StoreError, reason_of
from rerank_plugin.pipelines.environment import document_stores

STORE_TYPE = "rerank_plugin.store.document_store.HybridDocumentStore"
# The packages of other stores, by the beginning of the names of their classes: the package, and the extra that installs it.
_PACKAGES = {
    "haystack_integrations.document_stores.qdrant": ("qdrant-haystack", "qdrant"),
    "haystack_integrations.document_stores.pgvector": ("pgvector-haystack", "pgvector"),
    "haystack_integrations.document_stores.opensearch": ("opensearch-haystack", "opensearch"),
    "haystack_integrations.document_stores.elasticsearch": ("elasticsearch-haystack", "elasticsearch"),
    "milvus_haystack": ("milvus-haystack", "milvus"),
}
# Parameters that say where the documents of a store are: its address, and the collection there.
_ADDRESS = ("location", "url", "host", "hosts", "port", "path", "prefix", "uri", "address", "connection_string")
_COLLECTION = ("database", "db_name", "schema_name", "index", "collection_name", "table_name", "namespace")
# Parameters whose value is a file, unless it is the address of a server.
_FILES = {"path", "uri"}
_IN_MEMORY = ":memory:"
_URL_PASSWORD = re.compile(r"(://[^/@:\s]*):[^@\s]*@")
_KEYWORD_PASSWORD = re.compile(r"\bpassword\s*=\s*(?:'(?:[^'\\]|\\.)*'|\S+)\s*")


@dataclass(frozen=True)
class StoreAddress:
    """
    Where the documents of a store are. Passwords and other secrets are no part of it.

    :param type: The full name of its class.
    :param place: The parameters that say where it is, by name.
    """

    type: str
    place: Mapping[str, str]

    @property
    def class_name(self) -> str:
        """The name of its class without the module."""
        return self.type.rpartition(".")[2]

    @property
    def key(self) -> str:
        """A name for files: the same for the same place, another one for every other place."""
        text = json.dumps([self.type, dict(self.place)], sort_keys=True)
        return f"{self.class_name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def __str__(self) -> str:
        """Return the class and the place, for messages."""
        place = ", ".join(f"{name} {value}" for name, value in self.place.items())
        return f"{self.class_name} ({place})" if place else self.class_name


def address_of(store: Mapping[str, Any]) -> StoreAddress:
    """
    Return where the documents of a store are.

    :param store: The store as in a pipeline YAML: `type` and `init_parameters`.
    """
    place: dict[str, str] = {}
    given = dict(_parameters(store.get("init_parameters") or {}))
    for name in (*_ADDRESS, *_COLLECTION):
        if given.get(name) not in (None, ""):
            place[name] = _shown(name, given[name])
    return StoreAddress(str(store.get("type")), place)


def check_packages(data: Mapping[str, Any], *, name: str) -> None:
    """
    Check that the packages of the document stores that a pipeline names are installed.

    :param data: The content of a pipeline YAML.
    :param name: Name of the pipeline, for the error message.
    :raises MissingDependencyError: If one is not. The message says how to install it.
    """
    for store in document_stores(data):
        for module, (package, extra) in _PACKAGES.items():
            if str(store.get("type", "")).startswith(f"{module}.") and not _is_installed(module):
                raise MissingDependencyError(f"{name} needs {package}: pip install 'rerank-plugin[{extra}]'")


def open_store(store: Mapping[str, Any], *, name: str) -> Any:
    """
    Make a document store that a pipeline names.

    :param store: The store as in the YAML; see `address_of`.
    :param name: Name of the pipeline, for the error message.
    :returns: An object with the methods of Haystack's `DocumentStore`.
    :raises MissingDependencyError: If its package is not installed.
    :raises PipelineConfigError: If it cannot be made of these parameters, or keeps its documents in memory only.
    :raises StoreError: If it connects when it is made, and cannot.
    """
    from haystack.core.errors import DeserializationError
    from haystack.core.serialization import import_class_by_name

    import rerank_plugin.components  # noqa: F401 - puts the modules of the packaged pipelines on Haystack's allow-list

    check_packages({"document_store": store}, name=name)
    address = address_of(store)
    if address.class_name == "InMemoryDocumentStore" or _IN_MEMORY in address.place.values():
        raise PipelineConfigError(
            f"{name} names {address}, which forgets everything when this command ends: name another store"
        )
    try:
        made: Any = import_class_by_name(address.type)
        return made.from_dict({"init_parameters": {}, **deepcopy(dict(store))})
    except (ImportError, DeserializationError, TypeError, ValueError, KeyError) as error:
        raise PipelineConfigError(f"{name} cannot be loaded: document store {address}: {reason_of(error)}") from error
    except Exception as error:  # whatever the client of a server raises when there is none
        raise StoreError(f"{address} cannot be opened: {reason_of(error)}; check that it runs, and its address") from error


def _parameters(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield parameters and those inside them, such as `connection_args: {uri: ...}`."""
    for name, value in parameters.items():
        if isinstance(value, dict) and "type" not in value:
            yield from _parameters(value)
        else:
            yield name, value


def _shown(name: str, value: Any) -> str:
    if isinstance(value, dict):  # a secret: its value, or the names of the variables that have none
        variables = value.get("env_vars") or []
        found = next((os.environ[variable] for variable in variables if os.environ.get(variable)), None)
        value = "$" + ",$".join(map(str, variables)) if found is None else found
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if name in _FILES and "://" not in text:
        return str(Path(text).expanduser().resolve())
    return _KEYWORD_PASSWORD.sub("", _URL_PASSWORD.sub(r"\1@", text)).strip()


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package around it is missing, too
        return False
