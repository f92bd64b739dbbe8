"""What is measured of networks beside training them: pruning plasticity, budgets by layer."""
