"""Serves a site to the browsers of this machine and of those around it."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from mmnv3.deploy.site import MANIFEST
from mmnv3.errors import UserError
from mmnv3.optional import require

# What a browser wants to hear before it gives a page threads (cross-origin isolation).
ISOLATION = {
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Embedder-Policy': 'require-corp',
}
# An address of no machine (RFC 5737): nothing is sent, but the system chooses the
# interface that it would take.
_ELSEWHERE = ('192.0.2.1', 9)
_CERTIFICATE_DAYS = 30


class _Handler(SimpleHTTPRequestHandler):
    """Files of a folder, with the headers that threads need."""

    protocol_version = 'HTTP/1.1'
    extensions_map = {  # noqa: RUF012
        **SimpleHTTPRequestHandler.extensions_map,
        # Systems' own tables lack these, or name them wrongly.
        '.js': 'text/javascript',
        '.mjs': 'text/javascript',
        '.wasm': 'application/wasm',
        '.webmanifest': 'application/manifest+json',
    }

    def end_headers(self) -> None:
        """Adds the headers to every answer."""
        for name, value in ISOLATION.items():
            self.send_header(name, value)
        # It may be kept, but is asked for whether it has changed.
        self.send_header('Cache-Control', 'no-cache')
        super().end_headers()

    def list_directory(self, path: object) -> None:
        """Shows no lists of files."""
        self.send_error(404)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """Says nothing of browsers that leave, or do not trust the certificate."""


def own_address() -> str:
    """The address by which others in the network reach this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            return probe.getsockname()[0]
        except OSError:  # There is no network.
            return '127.0.0.1'


def make_server(
    site: str | Path, port: int, certificate: str | Path | None = None
) -> ThreadingHTTPServer:
    """A server that listens, and serves with ``serve_forever``.

    Args:
        site: What ``tools/export.py --format web`` wrote.
        port: 0 for any that is free.
        certificate: PEM file of a certificate and its key, for https; ``''`` for one
            that is made and that browsers warn of; None for http.

    Raises:
        UserError: When there is no site, the port is taken, or the certificate is none.
    """
    site = Path(site)
    if not (site / MANIFEST).is_file():
        raise UserError(
            f'{site} is no site; write one with tools/export.py --format web --out …'
        )
    context = None if certificate is None else _context(certificate)
    try:
        server = _Server(('', port), partial(_Handler, directory=str(site)))
    except OSError as error:
        raise UserError(
            f'port {port} cannot be listened at ({error.strerror}); name another with '
            '--port'
        ) from None
    if context:
        # Each browser shakes hands in its own thread.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    return server


def _context(certificate: str | Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate:
        try:
            context.load_cert_chain(certificate)
        except (OSError, ssl.SSLError) as error:
            raise UserError(
                f'{certificate} holds no certificate with its key in PEM ({error}); '
                'leave the file out for one that is made'
            ) from None
        return context
    with TemporaryDirectory() as folder:
        path = Path(folder, 'certificate.pem')
        path.touch(mode=0o600)
        path.write_bytes(_self_signed())
        context.load_cert_chain(path)
    return context


def _self_signed() -> bytes:
    """A certificate for this machine and its key, which nobody has signed."""
    require('cryptography', 'web')
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'mmnv3')])
    begin = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    names = [
        x509.DNSName('localhost'),
        *(
            x509.IPAddress(ipaddress.ip_address(a))
            for a in {own_address(), '127.0.0.1'}
        ),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=_CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def show_address(address: str, write: Callable[[str], object]) -> None:
    """Writes a QR code of an address, or says what is missing for one."""
    try:
        segno = require('segno', 'web')
    except UserError as missing:
        write(f'(no QR code: {missing})\n')
        return
    segno.make(address, error='l', micro=False).terminal(_Lines(write), compact=True)


class _Lines:
    """What segno writes to."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.write = write
