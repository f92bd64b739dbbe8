"""python -m pipeline.launch"""

import sys

from pipeline.cli import run_main
from pipeline.launch import main

if __name__ == "__main__":
    run_main(main.main, main.__doc__, sys.argv[1:])
