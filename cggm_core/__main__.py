"""`python -m cggm_core`."""

import sys

from cggm_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
