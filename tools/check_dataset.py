"""The same as `crowdcount dataset`; kept so that every documented command keeps working."""

import sys

from crowdcount.cli.dataset import main

if __name__ == "__main__":
    sys.exit(main())
