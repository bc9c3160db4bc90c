"""Serves a site of `tools/export.py --format web` to this machine and to phones.

Example:
    python tools/web.py site
    python tools/web.py site --https
"""

import argparse
import sys
from collections.abc import Sequence

from mmnv3.errors import end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from mmnv3 import arguments
from mmnv3.deploy.serve import make_server, own_address, show_address


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, tells the address and serves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('site', type=arguments.name, help='folder of the site')
    parser.add_argument(
        '--port',
        type=arguments.whole_number(0, 65535),
        default=8000,
        help='to listen at; 0 for any that is free; 8000 by default',
    )
    parser.add_argument(
        '--https',
        nargs='?',
        const='',
        metavar='PEM',
        help='encrypt, as browsers want it before they give a camera to another '
        'machine: with the certificate and key of a file, or with a certificate that '
        'is made now, of which the browser warns once',
    )
    args = parser.parse_args(argv)
    with make_server(args.site, args.port, args.https) as server:
        scheme = 'http' if args.https is None else 'https'
        port = server.server_port
        address = f'{scheme}://{own_address()}:{port}/'
        show_address(address, sys.stdout.write)
        print(f'here            {scheme}://localhost:{port}/')
        print(f'in the network  {address}')
        if args.https is None:
            print('cameras of other machines need --https; Ctrl-C ends')
        else:
            print('Ctrl-C ends')
        sys.stdout.flush()
        server.serve_forever()


if __name__ == '__main__':
    main()
