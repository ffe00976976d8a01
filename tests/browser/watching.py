"""What no page of Casemate may ever do, noticed while a test does something else.

A violation of the page's own content security policy, an error that nobody caught, anything on the
console that is an error, a request to another host.
"""

import re
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Request, WebError, WebSocket

LISTEN = """
document.addEventListener('securitypolicyviolation', (violation) =>
  console.error(`CSP: ${violation.violatedDirective} forbids ${violation.blockedURI}`))
"""
LOCAL_SCHEMES = {"data", "blob", "about"}
NOBODY_SIGNED_IN = r"status of 401"
"""How a page learns that it has to show the sign-in; Chromium calls every such answer an error."""


class Watch:
    """Of one browser context. `allow` says which console errors a test brings about itself."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._allowed = [re.compile(NOBODY_SIGNED_IN)]
        self.seen: list[str] = []

    async def over(self, context: BrowserContext) -> None:
        await context.add_init_script(LISTEN)
        context.on("console", self._heard)
        context.on("weberror", self._failed)
        context.on("request", self._requested)
        context.on("page", lambda page: page.on("websocket", self._connected))

    def allow(self, pattern: str) -> None:
        self._allowed.append(re.compile(pattern))

    def complaints(self) -> list[str]:
        return [line for line in self.seen if not any(rule.search(line) for rule in self._allowed)]

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.seen.append(f"console: {message.text} ({message.location.get('url')})")

    def _failed(self, error: WebError) -> None:
        self.seen.append(f"uncaught: {error.error}")

    def _requested(self, request: Request) -> None:
        self._visited(request.url)

    def _connected(self, socket: WebSocket) -> None:
        self._visited(socket.url)

    def _visited(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in LOCAL_SCHEMES and parts.netloc != self._host:
            self.seen.append(f"request to another host: {url}")
