"""Planning in imagination: the actions that lead, in a world, to the most reward (docs/planning.md).

objective.py      the worth of a sequence of actions
distributions.py  the distributions of candidates, and all random numbers
settings.py       the group `planner` of the configuration
search.py         the loop of all optimisers, with a time budget; random shooting; plans
optimizers.py     CEM, MPPI, receding horizon (MPC); a planner from a configuration
plots.py          imagined rollouts as videos and plots
"""
