"""A secure sum as messages and states, no I/O."""
