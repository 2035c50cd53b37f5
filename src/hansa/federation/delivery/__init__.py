"""Alerts on their way to people and machines: webhook, server-sent events, FIX News.

Nothing leaves a node that its operator has not configured in `hansa.toml`, `[alerts]`. Each way reads the alerts from
the node's records, so what is written there is what is sent, and keeps its own place on disk.
"""
