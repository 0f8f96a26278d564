"""A page opened by its own address finds the server at once.

Streamlit's first document looks for the server beside the address it was opened by, `monitor/_stcore/health` for
`/monitor`, and tries the place above only after that was refused: two requests in vain and two errors on the
console of everyone who follows a link. The document itself may name the place, so under the addresses of our
pages it does; everything else of it is Streamlit's.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from streamlit.file_util import get_static_dir

# Relative to the address, so that it also holds behind a proxy that puts a prefix before it.
LINE = '<script>window.__streamlit = { BACKEND_BASE_URL: new URL(".", location.href).href }</script>'


def document(original: str) -> str:
    """Streamlit's first document with the line in its head; unchanged where it has no head we know."""
    return original.replace("<head>", f"<head>\n    {LINE}", 1)


def routes(pages: Iterable[str]) -> list[Route]:
    """One route a page, by the name its address ends in."""
    index = Path(get_static_dir()) / "index.html"

    async def opened(_: Request) -> HTMLResponse:
        return HTMLResponse(document(index.read_text(encoding="utf-8")), headers={"Cache-Control": "no-cache"})

    return [Route(f"/{page}", opened) for page in pages]
