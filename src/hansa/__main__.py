"""`python -m hansa`."""

from hansa.cli import main

main()
