"""`python -m micronas`: the command line."""

from micronas.cli import main

main()
