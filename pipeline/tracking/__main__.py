"""python -m pipeline.tracking"""

import sys

from pipeline.cli import run_main
from pipeline.tracking import server

if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        server.serve()
    else:
        run_main(server.main, server.__doc__, sys.argv[1:])
