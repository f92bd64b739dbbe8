"""python -m pipeline.report"""

import sys

from pipeline.cli import run_main
from pipeline.report import page

if __name__ == "__main__":
    run_main(page.main, page.__doc__, sys.argv[1:])
