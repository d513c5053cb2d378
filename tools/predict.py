"""The same as `crowdcount predict`; kept so that every documented command keeps working."""

import sys

from crowdcount.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
