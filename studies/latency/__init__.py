"""The paper's latency studies, on the CPU at hand.

``studies`` says which networks (``variants``) are timed and beside which of the paper's
figures; ``measure`` exports and times them, ``results`` keeps the times, and ``page``
and ``plots`` show them.
"""
