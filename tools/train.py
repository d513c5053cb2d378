"""The same as `crowdcount train`; kept so that every documented command keeps working."""

import sys

from crowdcount.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
