"""Accounts on stores in memory, with a clock that tests move."""

import pytest

from orchestrator.accounts.events import AccountEvent
from orchestrator.accounts.service import Accounts
from orchestrator.accounts.settings import AccountsSettings
from orchestrator.testing.memory_stores import (
    MemoryRefreshTokenStore,
    MemorySignInLinkStore,
    MemoryUserStore,
)

SETTINGS = AccountsSettings(argon2_memory_kib=64)


class AccountsWorld:
    """`accounts` at time `now`; `events` is all that its watcher was told."""

    password = "plain tortoise umbrella"
    address = "192.0.2.7"

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.events: list[AccountEvent] = []
        self.users = MemoryUserStore()
        self.tokens = MemoryRefreshTokenStore()
        self.links = MemorySignInLinkStore()
        self.accounts = self.another_process()

    def another_process(self, settings: AccountsSettings = SETTINGS) -> Accounts:
        """On the same stores, like the command line beside the server."""
        return Accounts(
            users=self.users,
            tokens=self.tokens,
            links=self.links,
            access_key=b"k" * 32,
            settings=settings,
            watcher=self,
            time=lambda: self.now,
        )

    def account_event(self, event: AccountEvent) -> None:
        self.events.append(event)

    def told(self) -> list[str]:
        return [event.name for event in self.events]

    async def add(self, name="ada", role="user"):
        return await self.accounts.add_user(name, role=role, password=self.password)

    async def login(self, name="ada", password=None, address=None):
        return await self.accounts.login(
            name, password or self.password, address=address or self.address, device="test"
        )

    async def refresh(self, token):
        return await self.accounts.refresh(token, address=self.address)


@pytest.fixture
def world():
    return AccountsWorld()
