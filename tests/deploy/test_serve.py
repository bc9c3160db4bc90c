"""Sites are served with the headers that a page's threads need."""

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmnv3.deploy.serve import make_server, own_address, show_address
from mmnv3.errors import UserError
from tests.tools import run_tool


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / 'models.json').write_text('{}')
    (tmp_path / 'run.wasm').write_bytes(b'wasm')
    (tmp_path / 'code.mjs').write_text('1')
    (tmp_path / 'folder').mkdir()
    return tmp_path


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[int]:
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def get(
    connection: http.client.HTTPConnection, path: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection.request('GET', path)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_files_come_isolated_and_with_their_types(site: Path) -> None:
    with running(make_server(site, 0)) as port:
        connection = http.client.HTTPConnection('127.0.0.1', port)
        status, headers, content = get(connection, '/run.wasm')
        code = get(connection, '/code.mjs')[1]
        missing, missing_headers, _ = get(connection, '/models/none.onnx')
        listing = get(connection, '/folder/')[0]
        outside = get(connection, '/../../../../etc/hostname')[0]
        connection.close()
    assert (status, content) == (200, b'wasm')
    # https://html.spec.whatwg.org/multipage/browsers.html#coep
    for each in (headers, missing_headers):
        assert each['Cross-Origin-Opener-Policy'] == 'same-origin'
        assert each['Cross-Origin-Embedder-Policy'] == 'require-corp'
    assert headers['Content-Type'] == 'application/wasm'
    assert code['Content-Type'] == 'text/javascript'
    assert (missing, listing, outside) == (404, 404, 404)


def test_https_is_by_a_certificate_of_this_machine(site: Path) -> None:
    x509 = pytest.importorskip('cryptography.x509', reason='needs cryptography')
    server = make_server(site, 0, '')
    with running(server) as port:
        pem = ssl.get_server_certificate(('127.0.0.1', port))
        names = (
            x509.load_pem_x509_certificate(pem.encode())
            .extensions.get_extension_for_class(x509.SubjectAlternativeName)
            .value
        )
        trusting = ssl.create_default_context(cadata=pem)
        connection = http.client.HTTPSConnection('localhost', port, context=trusting)
        status = get(connection, '/run.wasm')[0]
        connection.close()
    assert status == 200
    addresses = [str(each) for each in names.get_values_for_type(x509.IPAddress)]
    assert own_address() in addresses


def test_what_cannot_be_served_is_told(site: Path) -> None:
    with pytest.raises(UserError, match='is no site'):
        make_server(site / 'folder', 0)
    with pytest.raises(UserError, match='holds no certificate'):
        make_server(site, 0, site / 'models.json')
    with make_server(site, 0) as server:
        with pytest.raises(UserError, match='name another with --port'):
            make_server(site, server.server_port)


def test_the_qr_code_is_of_the_address() -> None:
    pytest.importorskip('segno', reason='needs segno')
    written: list[str] = []
    show_address('http://192.0.2.7:8000/', written.append)
    # Each character is two modules, one above the other, light on a dark terminal.
    halves = {' ': (0, 0), '▀': (1, 0), '▄': (0, 1), '█': (1, 1)}
    lines = ''.join(written).split()
    light = np.array(
        [[halves[each] for each in line] for line in ''.join(written).splitlines()]
    )
    picture = np.kron(
        light.transpose(0, 2, 1).reshape(-1, len(lines[0])), np.ones((8, 8))
    )
    text, _, _ = cv2.QRCodeDetector().detectAndDecode((255 * picture).astype(np.uint8))
    assert text == 'http://192.0.2.7:8000/'


def test_the_tool_tells_of_a_missing_site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tool('web.py', tmp_path / 'none') == 2
    assert 'is no site' in capsys.readouterr().err
