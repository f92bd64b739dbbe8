"""python -m pipeline.params"""

import sys

from pipeline.cli import run_main
from pipeline.params import files

if __name__ == "__main__":
    run_main(files.main, files.__doc__, sys.argv[1:])
