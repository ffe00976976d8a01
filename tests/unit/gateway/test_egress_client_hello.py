"""The first TLS message, as real libraries write it and as nobody should."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.gateway.egress.client_hello import MAX_HELLO, NotTls, read_client_hello


def hello(name: str | None) -> bytes:
    """As OpenSSL writes it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def records(message: bytes, *, size: int) -> bytes:
    """A handshake message in records of this size."""
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2) + part for part in parts)


def sni(*names: bytes, kind: int = 0) -> bytes:
    listed = b"".join(bytes([kind]) + len(n).to_bytes(2) + n for n in names)
    content = len(listed).to_bytes(2) + listed
    return b"\x00\x00" + len(content).to_bytes(2) + content


def made(*extensions: bytes, tail: bytes = b"") -> bytes:
    """A hello with just these extensions, in one record."""
    joined = b"".join(extensions)
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(joined).to_bytes(2) + joined + tail
    return records(b"\x01" + len(body).to_bytes(3) + body, size=1 << 14)


@pytest.mark.parametrize("name", ["ok.test", None])
def test_the_name_is_read(name: str | None) -> None:
    """From what a real client sends, and with what follows in later records."""
    for data in (hello(name), hello(name) + b"\x14\x03\x03\x00\x01\x01"):
        found = read_client_hello(data)
        assert found is not None
        assert (found.server_name, found.hides_name) == (name, False)


def test_it_may_come_in_pieces() -> None:
    """In several records, and cut anywhere: until it is complete there is no answer."""
    whole = hello("ok.test")
    for data in (whole, records(whole[5:], size=50)):
        assert [read_client_hello(data[:cut]) for cut in range(len(data))] == [None] * len(data)
        found = read_client_hello(data)
        assert found is not None
        assert found.server_name == "ok.test"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-x",
        b"\x80\x2e\x01\x03\x01",  # SSL 2
        b"\x17\x03\x03\x00\x05hello",
        b"\x16\x02\x00\x00\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01" + (MAX_HELLO + 1).to_bytes(3),
        records(hello("ok.test")[5:], size=1),
        made(sni(b"ok.test"), sni(b"evil.test")),
        made(sni(b"ok.test", b"evil.test")),
        made(sni(b"ok.test", kind=1)),
        made(sni()),
        made(sni("ök.test".encode())),
        made(sni(b"ok.test"), tail=b"x"),
        made(b"\x00\x00\x00\x05"),
        made(sni(b"ok.test"))[:-1] + b"",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(data: bytes) -> None:
    """Other protocols, impossible lengths, names that are two."""
    try:
        found = read_client_hello(data)
    except NotTls:
        return
    assert found is None
    assert data == made(sni(b"ok.test"))[:-1]


@pytest.mark.parametrize("kind", [0xFE0D, 0xFFCE])
def test_a_hidden_name_is_seen_to_be_hidden(kind: int) -> None:
    """With encrypted ClientHello the visible name says nothing."""
    found = read_client_hello(made(sni(b"ok.test"), kind.to_bytes(2) + b"\x00\x01x"))
    assert found is not None
    assert found.hides_name


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 300))
def test_nothing_makes_it_fail(noise: bytes, at: int, length: int) -> None:
    """Any bytes, and a real hello with any part replaced: an answer, none yet, or NotTls."""
    whole = hello("ok.test")
    for data in (noise, b"\x16\x03\x01" + noise, whole[:at] + noise + whole[at + length :]):
        try:
            read_client_hello(data)
        except NotTls:
            continue


@given(st.binary(min_size=1, max_size=20))
def test_a_name_is_read_as_it_is(name: bytes) -> None:
    """No name is turned into another one."""
    try:
        found = read_client_hello(made(sni(name)))
    except NotTls:
        assert not name.isascii()
        return
    assert found is not None
    assert found.server_name == name.decode()
