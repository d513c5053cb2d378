"""The same as `crowdcount evaluate`; kept so that every documented command keeps working."""

import sys

from crowdcount.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
