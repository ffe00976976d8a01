"""Imports the Agent SDK without `mcp` and `jsonschema`, which only in-process MCP servers need.

Where a profile has no tool servers the shim has none, and the two are four fifths of the SDK's
import: a second of CPU and 25 MiB in every sandbox. While the SDK is imported, their names are
stand-ins that can be subclassed and written in annotations, and that refuse to be used. If a later
SDK does more with them than that, its import fails with the stand-ins and is done again without.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

PACKAGES = ("mcp", "jsonschema")
SDK = "claude_agent_sdk"


class StandInUsed(RuntimeError):
    """Something that the shim leaves out was needed after all."""


class _Subclassable:
    """What a class gets as its base where a stand-in was written."""

    def __init_subclass__(cls, **_options: Any) -> None:
        super().__init_subclass__()


class StandIn:
    """One name of a module that is left out."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __mro_entries__(self, _bases: tuple[object, ...]) -> tuple[type, ...]:
        return (_Subclassable,)

    def __or__(self, other: object) -> Any:
        """`Name | None` in an annotation."""
        return self if other is None else other

    __ror__ = __or__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise StandInUsed(f"{self._name}.{name} is left out of the shim.")

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise StandInUsed(f"{self._name} is left out of the shim.")


class _StandInModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}")


class _StandInFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname.partition(".")[0] not in PACKAGES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandInModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: that is the point."""


def import_sdk(*, whole: bool = False) -> bool:
    """Import the SDK, the light way if that works and `whole` is not asked for. Returns whether it
    did."""
    if SDK in sys.modules:
        return False
    if whole:
        importlib.import_module(SDK)
        return False
    finder = _StandInFinder()
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module(SDK)
    except Exception:  # noqa: BLE001 - whatever it is, the plain import below shows it or has none
        _forget(SDK)
        light = False
    else:
        light = True
    finally:
        sys.meta_path.remove(finder)
        _forget(*PACKAGES)
    importlib.import_module(SDK)
    return light


def _forget(*packages: str) -> None:
    """Later imports find the real modules, or import the package anew."""
    for name in list(sys.modules):
        if name.partition(".")[0] in packages:
            del sys.modules[name]
