"""Takes Sphinx's roles out of docstrings, which a site of MkDocs would print."""

import re

_ROLE = re.compile(r':(?:class|func|meth|mod|data|attr):(?=<code>)')


def on_page_content(html: str, **_: object) -> str:
    """What MkDocs calls with the HTML of every page."""
    return _ROLE.sub('', html)
