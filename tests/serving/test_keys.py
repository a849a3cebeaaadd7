"""Who may use the server."""

import logging
from hashlib import sha256

import httpx
import pytest
from rerank_servers import KEY, FullEngine, running

from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.serving.dialects.routes import ROUTES
from rerank_plugin.serving.keys import KeyRing, key_of

OTHER = "another-key-that-is-long"
BODY = {"query": "fox", "documents": ["a"]}


@pytest.fixture(scope="module")
def client(url):
    """A client without a key."""
    with httpx.Client(base_url=url) as client:
        yield client


def test_every_route_wants_a_key_but_three_and_the_shell_of_the_page(client):
    described = client.get("/openapi.json", headers={"Authorization": KEY}).json()["paths"]
    assert set(ROUTES) < set(described)
    for path, methods in described.items():
        for method in methods:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Api-Key": ""}, {"Authorization": f"Basic {KEY}"}):
                status = client.request(method, path, headers=headers, json=BODY).status_code
                assert status == (200 if path in ("/health", "/ready", "/ping") else 401), (path, headers)
    base = str(client.base_url).rstrip("/")
    for path in ("/openapi.json", "/nothing", "/health/", "//health", "/search", "/page/settings", "/page/assets/page.html"):
        assert client.get(f"{base}{path}").status_code == 401, path


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY}"}, {"Authorization": KEY}, {"Api-Key": KEY}],
)
def test_a_key_comes_in_any_form_that_clients_use(client, headers):
    assert client.get("/info", headers=headers).status_code == 200


def test_a_refusal_tells_how_to_do_it(client):
    answer = client.post("/v2/rerank", json=BODY)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["message"] == answer.json()["detail"] == answer.json()["error"]["message"]
    assert "Authorization: Bearer KEY" in answer.json()["message"]


def test_keys_of_a_file_may_be_hashed_and_are_revoked_by_editing_it(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\nsha256:{sha256(OTHER.encode()).hexdigest()}\n")
    ring = KeyRing(file)
    assert ring.admits(KEY)
    assert ring.admits(OTHER)
    assert not ring.admits("sha256:" + sha256(OTHER.encode()).hexdigest())
    file.write_text(f"{OTHER}\n")
    assert not ring.admits(KEY)
    assert ring.admits(OTHER)


def test_a_file_that_cannot_be_read_any_more_changes_nothing_and_is_reported(tmp_path, caplog, monkeypatch):
    # A server that ran in this process before keeps the messages of its loggers from those above.
    monkeypatch.setattr(logging.getLogger("rerank_plugin.serving"), "propagate", True)
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n")
    ring = KeyRing(file, [OTHER])
    for content in ("short\n", "\n# nothing\n", "sha256:xyz\n"):
        file.write_text(content)
        assert ring.admits(KEY)
        assert ring.admits(OTHER)
    file.unlink()
    assert ring.admits(KEY)
    assert len({message for message in caplog.messages if "the keys stay as they were" in message}) == 4


def test_a_running_server_takes_the_new_keys(tmp_path):
    file = tmp_path / "keys"
    file.write_text(KEY)
    with running({"tiny": FullEngine()}, keys=KeyRing(file)) as url:
        assert httpx.get(f"{url}/info", headers={"Api-Key": KEY}).status_code == 200
        file.write_text(OTHER)
        assert httpx.get(f"{url}/info", headers={"Api-Key": KEY}).status_code == 401
        assert httpx.get(f"{url}/info", headers={"Api-Key": OTHER}).status_code == 200


def test_without_keys_everyone_is_let_in():
    ring = KeyRing(keys=["", " "])
    assert ring.is_open
    assert ring.admits(None)


@pytest.mark.parametrize("key", ["", "short", "fifteen-letters", "sha256:abc", "ключ"])
def test_keys_that_are_not_secret_or_not_hashes_are_refused(tmp_path, key):
    file = tmp_path / "keys"
    file.write_text(key, encoding="utf-8")
    with pytest.raises((InvalidValueError, InputFileError), match="keys"):
        KeyRing(file)
    with pytest.raises(InputFileError, match="cannot be read"):
        KeyRing(tmp_path / "missing")


def test_odd_headers_are_no_key():
    assert key_of({}) is None
    assert key_of({"authorization": "  "}) is None
    ring = KeyRing(keys=[KEY])
    assert not ring.admits("\udcff")
    assert not ring.admits("é")
