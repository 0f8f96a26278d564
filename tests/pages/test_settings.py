"""The settings the app ships with: every name exists, and the server keeps to itself."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from streamlit import config

from cggm_core import catalog
from cggm_core.ui.deep_links import LINE
from cggm_core.ui.headers import HEADERS, KeepToItself
from tests.browser.conftest import ROOT, served

SETTINGS: dict[str, dict[str, Any]] = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
WANTED = {
    "server.address": "127.0.0.1", "server.allowedHosts": ["localhost", "127.0.0.1"],
    "server.enableXsrfProtection": True, "server.enableCORS": True, "server.maxUploadSize": 20,
    "server.maxMessageSize": 50, "server.enableAgentApi": False, "server.headless": True,
    "client.showErrorDetails": "none", "client.showErrorLinks": False, "browser.gatherUsageStats": False,
}  # fmt: skip


def options(given: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in given.items():
        if isinstance(value, dict):
            yield from options(value, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize("name", list(options(SETTINGS)))
def test_every_option_is_one_of_the_installed_streamlit(name: str) -> None:
    assert name in config._config_options_template


@pytest.mark.parametrize("name", list(WANTED))
def test_the_server_keeps_to_itself(name: str) -> None:
    section, _, key = name.partition(".")
    assert SETTINGS[section][key] == WANTED[name]


def test_no_font_or_theme_comes_from_elsewhere() -> None:
    assert "http" not in (ROOT / ".streamlit" / "config.toml").read_text()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("settings")
    with served(folder / "runs", folder / "log") as found:
        yield found


def asked(address: str, path: str, **headers: str) -> http.client.HTTPResponse:
    return told(address, path, **headers)[0]


def told(address: str, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection(urlparse(address).netloc, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read().decode(errors="replace")
    finally:
        connection.close()


UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


def test_a_socket_of_ones_own_page_opens(address: str) -> None:
    own = {"Host": urlparse(address).netloc, "Origin": address, **UPGRADE}
    assert asked(address, "/_stcore/stream", **own).status == 101


@pytest.mark.parametrize(
    "foreign",
    [{"Origin": "http://evil.test"}, {"Host": "evil.test", "Origin": "http://evil.test"}, {"Host": "evil.test"}],
)
def test_a_foreign_host_or_origin_gets_no_socket(address: str, foreign: dict[str, str]) -> None:
    assert asked(address, "/_stcore/stream", **{**UPGRADE, **foreign}).status != 101


@pytest.mark.parametrize("token", ["", "2|00000000|00000000000000000000000000000000|0", "x"])
def test_a_file_sent_without_the_page_s_own_token_is_refused(token: str, address: str) -> None:
    cookie = {"Cookie": f"_streamlit_xsrf={token[::-1]}", "X-Xsrftoken": token} if token else {}
    assert told(address, "/_stcore/upload_file/session/file", method="PUT", **cookie)[0].status == 403


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%5c..%5cetc/passwd", "/%252e%252e/etc/passwd",
     "/static/..%2f..%2f..%2fetc/passwd", "/media/..%2f..%2fetc/passwd", "//evil.test/x", "/app/static/app.py",
     "/monitor/..%2fapp.py"],
)  # fmt: skip
def test_no_address_leads_out_of_what_is_served(path: str, address: str) -> None:
    answer, text = told(address, path)
    assert answer.status in (400, 403, 404) or (answer.status == 200 and "<title>Streamlit</title>" in text)
    assert answer.getheader("location") is None
    assert "root:" not in text
    assert "KeepToItself" not in text


def test_an_address_of_600_kilobytes_does_not_end_the_server(address: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        assert asked(address, f"/runs?run={'a' * 600_000}").status < 500
    assert asked(address, "/_stcore/health").status == 200


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_to_one_version(file: str) -> None:
    lines = [line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    wanted = [line for line in lines if line and not line.startswith("-")]
    assert len(wanted) > 5
    assert [line for line in wanted if not re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.+]+( *;.*)?", line)] == []


def test_every_answer_forbids_foreign_content_and_frames(address: str) -> None:
    answer = asked(address, "/")
    assert answer.status == 200
    policy = answer.getheader("content-security-policy", "")
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "https:" not in policy


@pytest.mark.parametrize("page", catalog.all_cards("page"))
def test_a_page_asked_for_by_its_address_names_the_place_of_the_server(page: str, address: str) -> None:
    answer, text = told(address, f"/{page}")
    assert answer.status == 200
    assert text.index(LINE) < text.index("static/js/")
    assert "default-src 'self'" in answer.getheader("content-security-policy", "")


def test_the_start_page_and_files_are_streamlits_own(address: str) -> None:
    assert LINE not in told(address, "/")[1]
    assert told(address, "/monitor/_stcore/health")[0].status == 404


def test_the_middleware_adds_what_is_missing_and_leaves_sockets_alone() -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "headers": [(b"X-Frame-Options", b"SAMEORIGIN")]})

    async def keep(message: Any) -> None:
        sent.append(message)

    async def nothing() -> Any:
        return {}

    asyncio.run(KeepToItself(app)({"type": "http"}, nothing, keep))
    asyncio.run(KeepToItself(app)({"type": "websocket"}, nothing, keep))
    names = [name for name, _ in sent[0]["headers"]]
    assert sorted(map(bytes.lower, names)) == sorted(name for name, _ in HEADERS)
    assert sent[1]["headers"] == [(b"X-Frame-Options", b"SAMEORIGIN")]


def test_app_py_stays_the_frame_and_nothing_else() -> None:
    assert len((Path(ROOT) / "app.py").read_text().splitlines()) < 60
