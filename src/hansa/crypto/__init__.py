"""Mathematics of secrets: bytes in, bytes out; randomness and keys are arguments."""
