"""`python -m hansa_verify BUNDLE`."""

from .verify import main

raise SystemExit(main())
