"""Train a config: the same as `yolojax train`; see `python train.py --help`.

    python train.py --config=quickstart --workdir=runs/quickstart

The training itself is the function `train` in yolojax/train.py.
"""

import sys

from yolojax.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    sys.exit(main())
