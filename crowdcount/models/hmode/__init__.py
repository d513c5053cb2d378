"""HMoDE: a hierarchical mixture of density experts on a multi-scale encoder (arXiv 2208.02894)."""
