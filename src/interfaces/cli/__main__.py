"""`python -m interfaces.cli`, for child processes that must not depend on the location of a script."""

from interfaces.cli import main

main()
