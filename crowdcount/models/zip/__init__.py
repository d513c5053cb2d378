"""ZIP: zero-inflated Poisson counts of blocks (arXiv 2506.19955)."""
