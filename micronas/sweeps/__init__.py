"""Many searches: budgets, boards and seeds, on this machine or on Ray."""
