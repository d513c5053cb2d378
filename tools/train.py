"""The same as `crowdcount train`; kept so that every documented command keeps working."""

from crowdcount.cli.train import main

if __name__ == "__main__":
    main()
