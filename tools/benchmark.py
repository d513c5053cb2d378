"""The same as `crowdcount benchmark`; kept so that every documented command keeps working."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from crowdcount.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
