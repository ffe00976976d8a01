"""How often one may try to sign in: a doubling delay per account and address, a rate per address.

An attempt is counted before the password is checked and taken back when it was right, so that many
at once gain nothing. Kept in memory: a restart forgives, which an attacker cannot cause.
"""

import ipaddress
import math
from collections import OrderedDict
from typing import Any

import msgspec

from orchestrator.accounts.errors import TooManyAttempts
from orchestrator.accounts.settings import AccountsSettings

MAX_ENTRIES = 20_000
"""Per table. The one that was quiet for longest is forgotten first."""
WINDOW = 60.0
FORGET_AFTER = 3600.0


class _Attempts(msgspec.Struct, kw_only=True):
    count: int = 0
    last: float = 0.0
    blocked_until: float = 0.0


class _Rate(msgspec.Struct, kw_only=True):
    tokens: float
    at: float


class Throttle:
    def __init__(self, settings: AccountsSettings) -> None:
        self._settings = settings
        self._pairs: OrderedDict[tuple[str, str], _Attempts] = OrderedDict()
        self._rates: OrderedDict[tuple[str, int], _Rate] = OrderedDict()

    def attempt(self, account: str, address: str, *, now: float) -> None:
        """Count an attempt. Raises TooManyAttempts, which counts (and prolongs) nothing."""
        place = network_of(address)
        entry = self._entry(account, place, now=now)
        if now < entry.blocked_until:
            raise TooManyAttempts(retry_after=math.ceil(entry.blocked_until - now))
        self.arrive(address, now=now, most=self._settings.attempts_per_address)
        entry.count += 1
        entry.last = now
        excess = entry.count - self._settings.free_attempts
        if excess >= 0:
            delay = min(2.0 ** min(excess, 30), float(self._settings.longest_delay))
            entry.blocked_until = now + delay

    def arrive(self, address: str, *, now: float, most: int) -> None:
        """Count a request from an address that may send `most` of its kind in a minute.

        Raises TooManyAttempts.
        """
        key = (network_of(address), most)
        rate = self._rates.pop(key, None) or _Rate(tokens=most, at=now)
        rate.tokens = min(most, rate.tokens + (now - rate.at) * most / WINDOW)
        rate.at = now
        self._rates[key] = rate
        _shrink(self._rates)
        if rate.tokens < 1:
            raise TooManyAttempts(retry_after=math.ceil((1 - rate.tokens) * WINDOW / most))
        rate.tokens -= 1

    def succeeded(self, account: str, address: str) -> None:
        """The password was right: forget the wrong ones before it."""
        self._pairs.pop((account, network_of(address)), None)

    def _entry(self, account: str, place: str, *, now: float) -> _Attempts:
        key = (account, place)
        entry = self._pairs.pop(key, None)
        if entry is None or now - entry.last > FORGET_AFTER:
            entry = _Attempts(last=now)
        self._pairs[key] = entry
        _shrink(self._pairs)
        return entry


def network_of(address: str) -> str:
    """An IPv4 address as it is; the /64 of an IPv6 one, as whoever has one address has them all."""
    try:
        parsed = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _shrink(table: OrderedDict[Any, Any]) -> None:
    while len(table) > MAX_ENTRIES:
        table.popitem(last=False)
