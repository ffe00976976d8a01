"""The web page: read once at the start, served from memory, with the headers that keep it safe.

Nothing of a request's path ever reaches the file system: what is served was found then.
"""

import gzip
import hashlib
import mimetypes
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec
from litestar import Response
from litestar.di import NamedDependency
from litestar.enums import HttpMethod
from litestar.exceptions import NotFoundException
from litestar.handlers import route
from litestar.params import FromPath, SkipValidation

from orchestrator.api.dependencies import AnyRequest
from orchestrator.api.errors import NoPage
from orchestrator.api.origins import Origins

NONCE_MARK = "__CSP_NONCE__"
IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
NOT_THE_PAGE = ("api/", "health/", "metrics", "assets/")
WORTH_COMPRESSING = ("text/", "application/javascript", "application/json", "image/svg+xml")
HASHED_NAME = re.compile(r"assets/.*[.-][A-Za-z0-9_-]{8,}\.[a-z0-9]+")

_READ = [HttpMethod.GET, HttpMethod.HEAD]


class PageFile(msgspec.Struct, frozen=True, kw_only=True):
    body: bytes
    compressed: bytes | None
    media_type: str
    etag: str
    cache_control: str


class Page:
    """`index` is none where the page was not built."""

    def __init__(
        self, *, index: str | None, files: Mapping[str, PageFile], origins: Origins
    ) -> None:
        self._index = index
        self._files = files
        self._origins = origins

    def file(self, path: str) -> PageFile | None:
        return self._files.get(path)

    def document(self, host: str) -> Response[str]:
        """The application's one document, whatever its address: the page routes by itself."""
        if self._index is None:
            raise NoPage
        nonce = secrets.token_urlsafe(16)
        headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": content_security_policy(
                self._origins.origin_of(host), nonce=nonce
            ),
        }
        body = self._index.replace(NONCE_MARK, nonce)
        return Response(body, media_type="text/html", headers=headers)


def read_page(directory: Path | None, *, origins: Origins) -> Page:
    """Read the built page. Blocks: call it before serving."""
    if directory is None or not (directory / "index.html").is_file():
        return Page(index=None, files={}, origins=origins)
    root = directory.resolve()
    files = {
        path.relative_to(root).as_posix(): _read(path, root)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.resolve().is_relative_to(root) and path.name != "index.html"
    }
    index = (root / "index.html").read_text("utf-8")
    return Page(index=index, files=files, origins=origins)


def content_security_policy(origin: str, *, nonce: str) -> str:
    """Scripts from `/assets/` alone: a file of a workspace on this origin can never be one."""
    socket_origin = origin.replace("http", "ws", 1)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {origin}/assets/",
            f"style-src 'self' 'nonce-{nonce}'",
            "img-src 'self' data: blob:",
            "font-src 'self'",
            f"connect-src 'self' {socket_origin}",
            "worker-src 'self'",
            "frame-src 'self'",
            "manifest-src 'self'",
            "media-src 'self' blob:",
            "base-uri 'none'",
            "object-src 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types casemate-worker",
        )
    )


ThePage = NamedDependency[SkipValidation[Page]]


@route("/", name="page", http_method=_READ, include_in_schema=False)
async def page_root(request: AnyRequest, page: ThePage) -> Response[str]:
    return page.document(request.headers.get("host", ""))


@route("/{path:path}", name="page_file", http_method=_READ, include_in_schema=False)
async def page_file(
    path: FromPath[str], request: AnyRequest, page: ThePage
) -> Response[bytes] | Response[str]:
    name = path.lstrip("/")
    found = page.file(name)
    if found is not None:
        return _file_response(found, request)
    if name.startswith(NOT_THE_PAGE):
        raise NotFoundException
    return page.document(request.headers.get("host", ""))


def _file_response(found: PageFile, request: AnyRequest) -> Response[bytes]:
    headers = {
        "Cache-Control": found.cache_control,
        "ETag": found.etag,
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("if-none-match") == found.etag:
        return Response(b"", status_code=304, headers=headers)
    compressed = found.compressed
    if compressed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(compressed, media_type=found.media_type, headers=headers)
    return Response(found.body, media_type=found.media_type, headers=headers)


def _read(path: Path, root: Path) -> PageFile:
    body = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    hashed = HASHED_NAME.fullmatch(path.relative_to(root).as_posix())
    smaller = gzip.compress(body, 6) if media_type.startswith(WORTH_COMPRESSING) else None
    return PageFile(
        body=body,
        compressed=smaller if smaller is not None and len(smaller) < len(body) else None,
        media_type=media_type,
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        cache_control=IMMUTABLE if hashed else REVALIDATE,
    )
