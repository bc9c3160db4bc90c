"""What layers cost on a machine, and what whole networks cost by that.

``layers`` says what a layer is and lists those of a specification, ``tracing`` those of
a built network. ``graphs`` and ``onnx_graphs`` put copies of a layer into a small
network, ``timing`` times it, ``building`` fills a ``table`` so, and ``grid`` says with
which layers. ``law`` is how prices between measured widths are found, and ``check``
sets predicted against measured networks.
"""
