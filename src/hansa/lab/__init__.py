"""Digital twins: a simulated market with known truth."""
