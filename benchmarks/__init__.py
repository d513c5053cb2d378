"""One file for each command of `crowdcount benchmark`."""
