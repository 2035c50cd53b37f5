"""What a broker knows and never sends: bars, measures, features."""
