"""`python -m wardround` is the command `wardround`."""

import sys

from wardround.cli import main

if __name__ == "__main__":
    sys.exit(main())
