"""A string that stays where it is: keys, passwords, addresses that hold one."""

from typing import NoReturn


class Secret:
    """Not shown by `repr`, `str`, f-strings or tracebacks, nor pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret does not leave its process.")
