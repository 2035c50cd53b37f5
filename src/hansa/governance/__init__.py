"""The rules as code: the constitution."""
