"""What needs neither a login nor the database: static files, the favicon, the health probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tornado.web import StaticFileHandler

from cyberlab.handlers.common import CommonHandler

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOR_GOOD = "public, max-age=31536000, immutable"


class HealthHandler(CommonHandler):
    """Tells a supervisor or a load balancer that the IOLoop answers."""

    def get(self) -> None:
        """Answer "ok"."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("ok\n")


class FaviconHandler(CommonHandler):
    """Sends what asks for /favicon.ico to the picture that the pages name."""

    def get(self) -> None:
        """Redirect."""
        self.redirect(self.portal.assets.url("favicon.svg"))


class AssetHandler(CommonHandler, StaticFileHandler):
    """Serves static/; under a digest that is not the present one, the present file, but not for good."""

    async def get(self, version: str | None, path: str, include_body: bool = True) -> None:  # type: ignore[override]
        """Answer with the file."""
        self.current = version == self.portal.assets.version
        await super().get(path, include_body)

    async def head(self, version: str | None, path: str) -> None:  # type: ignore[override]
        """Answer as GET, without the file."""
        await self.get(version, path, include_body=False)

    def set_extra_headers(self, path: str) -> None:
        """Say how long the file may be kept."""
        self.set_header("Cache-Control", FOR_GOOD if self.current else "no-cache")

    def get_content_type(self) -> str:
        """Not what the system's MIME table says: with nosniff, a script under another type does not run."""
        assert self.absolute_path is not None
        return TYPES.get(Path(self.absolute_path).suffix, "") or super().get_content_type()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """An error is not to be kept."""
        self.set_header("Cache-Control", "no-store")
        super().write_error(status_code, **kwargs)
