"""Rounds between organisations: transport, coordinator, member, door."""
