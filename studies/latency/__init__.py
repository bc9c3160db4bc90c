"""The paper's latency studies, on the CPU at hand.

``studies`` says which networks are timed and beside which of the paper's figures (they
are made by ``entries``, ``figure9`` and ``naive``); ``preparing`` exports them,
``measuring`` times them, ``results`` keeps the times, ``findings`` compares them, and
``page`` and ``plots`` show them. ``run`` does one after the other.
"""
