"""Who may ask for the map, and what a browser may do with the answers."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from geoseg.view.guard import Guard

Ask = Callable[..., Any]


def client(**options: Any) -> TestClient:
    app = Guard(PlainTextResponse("the map"), **options)
    return TestClient(app, base_url="http://127.0.0.1:8765", follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:9", "[::1]:8765", "LOCALHOST"])
def test_this_machine_may_ask(host: str) -> None:
    assert client().get("/", headers={"host": host}).text == "the map"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "192.168.1.5:8765", ""])
def test_a_name_that_was_rebound_to_this_machine_is_refused(host: str) -> None:
    answer = client().get("/api/scenes", headers={"host": host})
    assert answer.status_code == 421
    assert "the map" not in answer.text


def test_pages_of_others_get_no_tiles_and_send_nothing() -> None:
    own, other = "http://127.0.0.1:8765", "http://evil.example"
    assert client().get("/tiles/0/classes/1/0/0", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client().get("/tiles/0/classes/1/0/0", headers={"sec-fetch-site": "same-origin"}).status_code == 200
    assert client().get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200
    assert client().post("/api/0/view", headers={"origin": other}).status_code == 403
    assert client().post("/api/0/view", headers={"origin": own}).status_code == 200


def test_the_token_comes_once_in_the_address_and_then_in_a_cookie() -> None:
    asked = client(hosts=None, token="s3cret")
    assert asked.get("/").status_code == 401
    assert asked.get("/?token=wrong").status_code == 401
    assert asked.get("/api/scenes", headers={"cookie": "geoseg=s3cret"}).status_code == 401
    first = asked.get("/?token=s3cret")
    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert "httponly" in first.headers["set-cookie"].lower()
    assert "samesite=strict" in first.headers["set-cookie"].lower()
    assert asked.get("/").text == "the map"


def test_every_answer_keeps_the_browser_at_home() -> None:
    for answer in (client().get("/"), client().get("/", headers={"host": "evil.example"})):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
