"""What the federation learns: index, core, network, evaluation."""
