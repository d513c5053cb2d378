"""`python -m crowdcount`: the same as the command `crowdcount`."""

import sys

from crowdcount.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
