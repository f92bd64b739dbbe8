"""python -m pipeline.report [csv [FOLDER ...] | results]"""

import sys

from pipeline.cli import run_main
from pipeline.report import page
from pipeline.report.evidence import collect
from pipeline.report.evidence import page as results

COMMANDS = {"csv": collect, "results": results}
"""Of docs/; without one of them it is the report of params.yaml."""

if __name__ == "__main__":
    named = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    module = named or page
    run_main(module.main, module.__doc__, sys.argv[2 if named else 1 :])
