"""Readers: files of a broker's own formats in, frames of the bars contract out."""
