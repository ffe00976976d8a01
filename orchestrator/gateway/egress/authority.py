"""The certificate authority that lets the proxy open connections to hosts that get a secret.

Its key is made when it is needed, stays in memory and ends with the process. It can vouch for the
hosts that were named and for nothing else, so that even a stolen key opens no other connection.
"""

import datetime as dt
import os
import ssl
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAME = "Casemate egress"
AUTHORITY_DAYS = 30
"""Longer than any sandbox lives."""
LEAF_DAYS = 2
RENEW_DAYS = 1
"""Before a leaf's end, and after an authority's beginning."""
MAX_LEAVES = 200
_CLOCK_SKEW = dt.timedelta(hours=1)
ALPN = ["http/1.1"]


class Authority:
    """`hosts` are names; each stands for itself and all below it, as X.509 has it."""

    def __init__(self, hosts: frozenset[str], *, name: str = NAME) -> None:
        self.hosts = hosts
        self._name = _subject(name)
        self._made = _now()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._own_certificate()
        self._contexts: dict[str, tuple[dt.datetime, ssl.SSLContext]] = {}

    @property
    def is_fresh(self) -> bool:
        """Whether new sandboxes may still be told to trust it."""
        return _now() - self._made < dt.timedelta(days=RENEW_DAYS)

    @property
    def certificate(self) -> bytes:
        """Public, as PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def context_for(self, host: str) -> ssl.SSLContext:
        """A server's context with a certificate for this host; kept until it must be renewed."""
        now = _now()
        expires, context = self._contexts.get(host, (now, None))
        if context is None or expires <= now:
            if len(self._contexts) >= MAX_LEAVES:
                self._contexts.clear()
            context = self._context(host)
            renewed = now + dt.timedelta(days=LEAF_DAYS - RENEW_DAYS)
            self._contexts[host] = (renewed, context)
        return context

    def _context(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        chain = self._leaf(host, key).public_bytes(serialization.Encoding.PEM) + self.certificate
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(ALPN)
        load_from_memory(context, chain + secret)
        return context

    def _own_certificate(self) -> x509.Certificate:
        builder = self._builder(self._name, self._key.public_key(), days=AUTHORITY_DAYS)
        return (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.NameConstraints(
                    permitted_subtrees=[x509.DNSName(host) for host in sorted(self.hosts)],
                    excluded_subtrees=[
                        x509.IPAddress(IPv4Network("0.0.0.0/0")),
                        x509.IPAddress(IPv6Network("::/0")),
                    ],
                ),
                critical=True,
            )
            .sign(self._key, hashes.SHA256())
        )

    def _leaf(self, host: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        builder = self._builder(_subject(""), key.public_key(), days=LEAF_DAYS)
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(names, critical=True)  # as it must be where there is no subject
            .add_extension(purpose, critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
    ) -> x509.CertificateBuilder:
        now = _now()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def upstream_context(ca_file: Path | None) -> ssl.SSLContext:
    """For connections to hosts: verified by name, HTTP/1.1 only. Raises OSError, ssl.SSLError."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(ALPN)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def load_from_memory(context: ssl.SSLContext, chain_and_key: bytes) -> None:
    """The library reads keys from files only; this one has no name and is never on a disk."""
    descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, chain_and_key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
