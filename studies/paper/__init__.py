"""The paper's tables beside what this package's networks count.

What the paper prints is data (``rows``), and so are the reasons of deviations; the
networks are built and counted (``networks``, ``tables``) when the page and its figures
are made (``page``).
"""

from studies.paper.page import render_page, render_table, write_tables
from studies.paper.rows import TABLES

__all__ = ['TABLES', 'render_page', 'render_table', 'write_tables']
