"""The paper's latency studies, on the CPU at hand.

``study`` is what a study is, and ``studies`` are those of the paper (``figure9`` are
the networks of one of them); ``measuring`` exports and times the networks, ``results``
keeps and compares the times, and ``page`` shows them.
"""
