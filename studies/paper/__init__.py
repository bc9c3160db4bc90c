"""The paper's tables beside what this package's networks count.

What the paper prints is data (``printed``, made of ``tables``, which also sets rows
beside what is built); ``page`` and ``plots`` show both.
"""
