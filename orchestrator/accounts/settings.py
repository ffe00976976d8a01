"""What an operator may set about accounts. Lengths of time are in seconds."""

import msgspec


class AccountsSettings(msgspec.Struct, frozen=True, kw_only=True):
    access_lifetime: int = 600
    """Of an access token. Short, because a stolen one works until then."""
    refresh_lifetime: int = 14 * 86400
    """A sign-in that is not used for so long ends."""
    sign_in_lifetime: int = 30 * 86400
    """A sign-in ends after so long, used or not."""
    refresh_grace: float = 10.0
    """Two tabs may refresh at once: the later one is told so instead of being taken for a thief."""
    link_lifetime: int = 86400
    """Of a one-time sign-in link."""
    standing_age: float = 2.0
    """How old an answer about "is this user still welcome" may be. With the sockets' own period it
    keeps a disabled user's access below five seconds."""
    argon2_memory_kib: int = 47104
    """46 MiB with one pass: 50 ms here, twice the least that OWASP advises."""
    argon2_passes: int = 1
    """Over that memory: the cost of a guess is in the memory, the cost of a sign-in in the time."""
    hashing_at_once: int = 2
    """Each takes a core and `argon2_memory_kib`."""
    hashing_queue: int = 32
    """Beyond it a sign-in is refused at once, so that a flood fills no memory."""
    free_attempts: int = 5
    """Wrong passwords per account and address before the first delay."""
    longest_delay: int = 300
    """The delay doubles with each further wrong password, up to this."""
    attempts_per_address: int = 50
    """To sign in, per minute, over all accounts."""
    refreshes_per_address: int = 600
    """Per minute. An office behind one address has many tabs, and a guess has no chance."""
