"""Certificates: one authority for the lab's S3, one for each cluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from threading import Lock
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deployments.lab import files

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.lab import Lab

SHARED = Lock()
"""Both regions start at once, and use the same authority."""
VALID = timedelta(days=3650)
SKEW = timedelta(days=1)
"""Certificates begin a day ago: a lab may be started on a machine whose clock is then corrected."""


def authority(folder: Path, common_name: str) -> Path:
    """The authority's certificate (ca.crt, beside its ca.key) in *folder*; made once."""
    certificate = folder / "ca.crt"
    if certificate.exists():
        return certificate
    key = _new_key(folder / "ca.key")
    name = _name(common_name)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    built = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    files.write(certificate, built.public_bytes(Encoding.PEM))
    return certificate


def certificate(
    folder: Path, name: str, *, common_name: str, organization: str | None = None, hosts: tuple[str, ...] = ()
) -> Path:
    """`name.crt` beside `name.key`, signed by the authority in *folder*: for a server with *hosts*, else a client."""
    path = folder / f"{name}.crt"
    if path.exists():
        return path
    issuer = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = load_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    use = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(_name(common_name, organization), issuer.subject, _new_key(folder / f"{name}.key"))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    files.write(path, builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM))
    return path


def signing_key(folder: Path, name: str) -> Path:
    """`name.key` and `name.pub`: a plain RSA pair, with which a cluster signs service account tokens."""
    path = folder / f"{name}.key"
    if not path.exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pub").write_bytes(public)
        files.write(path, key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return path


def s3_authority(lab: Lab) -> Path:
    """What clients of the lab's S3 must trust (AWS_CA_BUNDLE)."""
    with SHARED:
        return authority(lab.folder("shared", "tls"), "dr-lab S3")


def s3_certificate(lab: Lab) -> Path:
    """One certificate for every region's S3, by all the names and addresses it has."""
    folder = s3_authority(lab).parent
    addresses = {region.address for region in lab.regions.values()}
    names = {region.s3_host for region in lab.regions.values()}
    with SHARED:
        return certificate(folder, "s3", common_name="s3", hosts=("localhost", "127.0.0.1", *sorted(names | addresses)))


def _name(common_name: str, organization: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + VALID)
    )


def _new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    files.write(path, key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()), mode=0o600)
    return key
