"""`python -m yolojax`: the same as the `yolojax` command."""

import sys

from yolojax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
