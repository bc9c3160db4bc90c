"""Searching networks: latency tables, NetAdapt, and platform-aware NAS."""
