"""A throw-away CA and a server certificate for 127.0.0.1, signed by it."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Authority:
    certificate: str  # PEM
    sha256: str  # of its DER form
    server: ssl.SSLContext


def at(directory: Path) -> Authority:
    """The one whose files lie there; a new one where there is none."""
    chain, root = directory / "server.pem", directory / "ca.pem"
    if not root.exists():
        _make(chain, root)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    certificate = root.read_text()
    return Authority(certificate, hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest(), context)


def _make(chain: Path, root: Path) -> None:
    ca_key, ca_name = ec.generate_private_key(ec.SECP256R1()), _name("fake-kubernetes-ca")
    ca = _certificate(ca_name, ca_name, ca_key, ca_key, is_ca=True)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(_name("kube-apiserver"), ca_name, key, ca_key, is_ca=False)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.touch(mode=0o600)
    chain.write_bytes(private + certificate.public_bytes(pem))
    root.write_bytes(ca.public_bytes(pem))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool,
) -> x509.Certificate:
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    here = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    build = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if is_ca:
        usage = x509.KeyUsage(digital_signature=True, content_commitment=False, key_encipherment=False,
                              data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
                              encipher_only=False, decipher_only=False)  # fmt: skip
        build = build.add_extension(usage, critical=True)
    else:
        build = build.add_extension(x509.SubjectAlternativeName(here), critical=False)
    return build.sign(signer, hashes.SHA256())
