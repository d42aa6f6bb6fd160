"""`python -m interfaces.cli`, for children that must not depend on a script's place."""

from interfaces.cli import main

main()
