"""How a page looks, for machines and for people: several tabs at once, in light and in dark."""

import asyncio
from itertools import product

from .accessibility import violations
from .chat_page import SCHEMES, ChatPage


async def accessible(*tabs: ChatPage) -> None:
    for tab, scheme in product(tabs, SCHEMES):
        await tab.page.emulate_media(color_scheme=scheme)
        assert await violations(tab.page) == [], f"{tab.form}, {scheme}"


async def photographed(what: str, *tabs: ChatPage) -> None:
    await asyncio.gather(*(tab.photograph(what) for tab in tabs))
