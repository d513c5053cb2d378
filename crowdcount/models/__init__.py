"""Networks, one folder a family."""
