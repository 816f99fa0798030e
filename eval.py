"""Evaluate a run or Darknet weights: the same as `yolojax eval`; see `python eval.py --help`.

python eval.py --workdir=runs/quickstart
"""

import sys

from yolojax.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "eval")
    sys.exit(main())
