"""Attestation: which machine and which code the coordinator's keys live in, by the word of the machine's maker."""
