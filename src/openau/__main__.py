"""`python -m openau` is `openau`."""

from openau.cli import main

main()
