"""How fast the second stage is, and what its speed costs: this component beside its peers, in one run."""
