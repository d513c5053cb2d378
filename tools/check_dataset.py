"""The same as `crowdcount dataset`; kept so that every documented command keeps working."""

import sys

from crowdcount.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["dataset", *sys.argv[1:]]))
