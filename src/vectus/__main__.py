"""``python -m vectus`` is ``vectus``."""

import sys

from vectus.cli import main

if __name__ == "__main__":
    sys.exit(main())
