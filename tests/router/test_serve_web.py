"""Who may use the server: no page of the web, no name of another, nobody who merely stands near."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from micronas.errors import ConfigError
from micronas.router.serve.settings import ServeSettings, read_settings
from tests.router.serving import asks, behind, closed, raw, running, said, serving
from tests.upstreams import answers, upstream

EXPERTS = [closed("a")]


def asked(client: httpx.Client, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = {"Content-Type": "application/json"}
    content = json.dumps(asks("<1>", model="a"))
    return client.post("/v1/chat/completions", content=content, headers=kind | given)


def test_a_page_of_another_origin_spends_nothing() -> None:
    with behind(answers) as (a, client):
        # what a browser sends without asking first, and what it would ask for
        for kind in ("text/plain", "application/x-www-form-urlencoded", "", "text/json"):
            assert asked(client, Content_Type=kind).status_code == 415
        for origin in ("https://evil.example", "null", str(client.base_url), ""):
            refused = asked(client, Origin=origin)
            assert refused.status_code == 403
            assert refused.json()["error"]["code"] == "foreign_origin"
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = client.options("/v1/chat/completions", headers=preflight)
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert a.requests == 0
        assert said(asked(client, Content_Type="Application/JSON; charset=utf-8"))


def test_a_page_that_is_named_may_ask() -> None:
    page = "https://chat.example"
    with behind(answers, origins=[page]) as (_, client):
        preflight = {
            "Origin": page,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,authorization,x-stainless-os",
        }
        allowed = client.options("/v1/chat/completions", headers=preflight)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == page
        answer = asked(client, Origin=page)
        assert said(answer) == "a answers <1> in full"
        assert answer.headers["access-control-allow-origin"] == page
        assert asked(client, Origin="https://chat.example.evil").status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "localhost@evil.example"),
        *("127.0.0.1.evil.example", "93.184.216.34", "[::ffff:9.9.9.9]", "", "local host"),
        "127.0.0.1:80:80",
    ],
)
def test_a_host_of_another_is_not_served(host: str) -> None:
    with behind(answers) as (a, client):
        for path in ("/v1/models", "/metrics", "/healthz", "/openapi.json", "/elsewhere"):
            head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            answer = raw(client, head)
            assert answer.startswith(b"HTTP/1.1 421 ")
            assert b'"code":"unknown_host"' in answer
        assert raw(client, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421 ")
        twice = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
        assert raw(client, twice + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 421 ")
        assert asked(client, Host=host or "x").status_code in (400, 421)
        assert a.requests == 0


OPEN = {"host": "0.0.0.0", "insecure": True, "hosts": ["box.lan"]}


@pytest.mark.parametrize(
    ("host", "settings", "status"),
    [
        *((host, {}, 200) for host in ("127.0.0.1:1", "localhost", "LOCALHOST:80", "[::1]:8000")),
        ("router.internal.", {"hosts": ["Router.internal"]}, 200),
        # whoever listens to all has addresses of any kind
        *((host, OPEN, 200) for host in ("192.168.1.5:8000", "[fe80::1]", "box.lan:8000")),
        ("localhost", OPEN, 200),
        *((host, OPEN, 421) for host in ("evil.example", "box.lan.evil.example")),
    ],
)
def test_own_hosts_are_served(host: str, settings: dict[str, Any], status: int) -> None:
    with serving(experts=EXPERTS, **settings) as client:
        assert client.get("/healthz", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.lan"])
def test_others_are_served_with_keys_or_knowingly(host: str, tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"

    def read(**more: Any) -> ServeSettings:
        path.write_text(yaml.safe_dump({"experts": EXPERTS, "host": host, **more}))
        return read_settings(path)

    with pytest.raises(ConfigError, match="must ask for keys") as refused:
        read()
    assert "insecure: true" in str(refused.value)
    assert read(insecure=True).insecure
    assert read(keys_env="KEYS").keys_env == "KEYS"


@pytest.mark.long
def test_code_beside_the_configuration_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text("raise SystemExit('ran')\n")
    with upstream("a", answers) as a, running(tmp_path, experts=[a.expert()]) as server:
        assert httpx.get(server.url.replace("/v1", "/metrics")).status_code == 200
