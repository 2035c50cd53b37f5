"""Replays of known stress: what the federation's alerts would have said, bar by bar, with what was known then."""
