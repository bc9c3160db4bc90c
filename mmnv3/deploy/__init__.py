"""Models as files that other runtimes execute.

``graph`` makes a model a plain module, ``export`` writes it with a description
(``info``), and ``runtime`` loads such a file. Running one needs none of the toolboxes,
so nothing is imported here.
"""
