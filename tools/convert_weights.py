"""The same as `crowdcount convert`; kept so that every documented command keeps working."""

import sys

from crowdcount.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
