"""The paper's tables beside what this package's networks count.

What the paper prints is data (``layers``, ``classification``, ``detection``,
``segmentation``), and so are the reasons of deviations (``reasons``); the networks are
built and counted (``networks``, ``tables``) when the page and its figures are made
(``page``, ``plots``).
"""

from studies.paper.page import TABLES, render_page, render_table
from studies.paper.write import write_page

__all__ = ['TABLES', 'render_page', 'render_table', 'write_page']
