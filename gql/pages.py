"""The pages for people: what `make web` builds from web/, and the headers that keep it safe in a browser.

Invariant: only the built page and files directly in its folder of assets are served, whatever is asked for.
"""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from gql.request import Request as Asked

BUILT = Path(__file__).resolve().parent.parent / "web" / "dist"

MEDIA_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
}
"""Of all that is built. The machine's own table is not asked: browsers refuse a script with another type."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self' 'unsafe-inline'",  # the editor, Monaco, makes style elements as it goes
    "font-src 'self' data:",
    "img-src 'self' data:",
    "worker-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
PAGE_HEADERS = {
    "Content-Security-Policy": "; ".join(CONTENT_SECURITY_POLICY),
    "Cache-Control": "no-cache",
    "Vary": "Accept",
}
ASSET_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable"}
"""A name holds a hash of the content, so what a browser has once, it may keep."""


def is_wanted(request: Asked) -> bool:
    """Whether a browser asks for a page: not for JSON, and with no query in the address."""
    return (
        request.method in ("GET", "HEAD")
        and "text/html" in request.header(b"accept")
        and not request.parameters.get("query")
    )


def graphiql() -> Response:
    """GraphiQL, read anew each time, so that it can be built while the API runs."""
    try:
        page = (BUILT / "graphiql.html").read_text(encoding="utf-8")
    except FileNotFoundError:
        page = NOT_BUILT
    return HTMLResponse(page, headers=PAGE_HEADERS)


async def asset(request: Request) -> Response:
    """A file that a built page asks for. The route lets no slash into the name."""
    path = BUILT / "assets" / request.path_params["name"]
    if path.suffix not in MEDIA_TYPES or not is_file(path):
        raise HTTPException(404)
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=ASSET_HEADERS)


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than files may have
        return False


NOT_BUILT = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>TaskQL</title>
<h1>TaskQL</h1>
<p>The API is running, but its page, GraphiQL, is not built.
Run <code>make web</code>, then load this again.</p>
<p>The API itself needs no page. This is its address; send it operations as JSON:</p>
<pre>curl -H 'Content-Type: application/json' -d '{"query": "{ kinds { name description } }"}' URL</pre>
<p>Subscriptions: WebSocket (graphql-transport-ws) or <code>Accept: text/event-stream</code>.</p>
</html>
"""
