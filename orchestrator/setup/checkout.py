"""Where things are in a checkout of the project."""

from pathlib import Path

import msgspec


class Checkout(msgspec.Struct, frozen=True, kw_only=True):
    """The project's own folders. Everything that is made by a build is in ignored ones."""

    root: Path

    @property
    def web(self) -> Path:
        return self.root / "web"

    @property
    def page(self) -> Path:
        """The built web page."""
        return self.web / "dist"

    @property
    def cache(self) -> Path:
        return self.root / ".cache"

    @property
    def docs(self) -> Path:
        return self.root / "docs"

    @property
    def attacks(self) -> Path:
        """The tests that attack a running Casemate from inside its sandboxes."""
        return self.root / "tests" / "attacks"


def this_checkout() -> Checkout:
    """The one that this package runs from."""
    return Checkout(root=Path(__file__).resolve().parents[2])
