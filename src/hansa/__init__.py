"""hansa: rival brokers forecast market liquidity together; nobody sees anybody's data."""

__version__ = "0.1.0"
