"""The same as `crowdcount convert`; kept so that every documented command keeps working."""

import sys

from crowdcount.cli.convert import main

if __name__ == "__main__":
    sys.exit(main())
