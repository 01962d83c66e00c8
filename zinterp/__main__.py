"""``python -m zinterp``."""

from zinterp.cli.main import main

main()
