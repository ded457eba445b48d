"""`python -m dfutils`: the commands."""

from dfutils.cli import main

main()
