"""The report of a demo or run: one self-contained page of pictures, each with a table of its numbers."""

from hansa.lab.report.page import page, write_report

__all__ = ["page", "write_report"]
