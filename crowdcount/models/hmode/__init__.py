"""HMoDE: a hierarchical mixture of density experts on a multi-scale backbone (arXiv 2208.02894)."""
