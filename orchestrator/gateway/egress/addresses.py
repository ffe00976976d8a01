"""Which addresses a name may lead to. Pure.

The table is our own: `ipaddress.is_global` differs between versions of Python, and lets pass what
wraps another address (6to4, NAT64) or reaches a machine's neighbours (multicast).
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

_PRIVATE_4 = tuple(
    map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
)
_PRIVATE_6 = IPv6Network("fc00::/7")
_SPECIAL_4 = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24"),
            *("192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            *("100.100.100.200/32", "168.63.129.16/32"),  # where clouds answer their own machines
        ),
    )
)
_UNICAST_6 = IPv6Network("2000::/3")
"""All of IPv6 that is given out; what lies beside it is special."""
_SPECIAL_6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_CLOUD_6 = tuple(map(IPv6Network, ("fd00:ec2::/64", "fd00:42::42/128", "fd20:ce::254/128")))
"""Where clouds answer their own machines, in the space of private networks."""
_NAT64 = IPv6Network("64:ff9b::/96")


def is_allowed(address: Address, *, private: bool) -> bool:
    """Public unicast addresses, and with `private` those of private networks: never the machine
    itself, its link (where clouds keep their metadata), or an address that wraps a forbidden one.

    `private` does not include the loopback: what listens there relies on that nobody else reaches
    it, Casemate's own port first of all. A mirror on the same machine is reached by its address in
    the private network.
    """
    if isinstance(address, IPv4Address):
        return _is_allowed_4(address, private=private)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return _is_allowed_4(IPv4Address(int(address) & 0xFFFFFFFF), private=private)
    if address in _PRIVATE_6:
        return private and not any(address in cloud for cloud in _CLOUD_6)
    return address in _UNICAST_6 and not any(address in special for special in _SPECIAL_6)


def _is_allowed_4(address: IPv4Address, *, private: bool) -> bool:
    if any(address in special for special in _SPECIAL_4):
        return False
    return private or not any(address in network for network in _PRIVATE_4)
