"""What layers cost on a machine, and what whole networks cost by that.

``table`` holds the prices, interpolates between them and adds them up. ``tracing``
reads the layers of a built network, and ``price`` those of a config with any network in
it, without building one. ``probes`` puts copies of a layer into a small network, and
``measuring`` times it and fills a table so, with the layers that ``grid`` names.
``config_models`` builds the networks of configs and random variants of them, by which
``check`` sets predicted against measured latency.
"""
