"""Planning in imagination: which actions lead, in a world, to the most reward. docs/planning.md explains it.

objective.py      what a sequence of actions is worth
noise.py          all that is drawn
distributions.py  what candidates are drawn from
budget.py         seconds of a decision
settings.py       the group `planner` of the configuration
search.py         the loop that all optimisers share; random shooting
refined.py        searches that draw again
cem.py, mppi.py   how one moves what it draws from
mpc.py            doing some actions of a plan before the next
plan.py           what comes out
building.py       a planner from a configuration
pictures.py       imagined rollouts to look at
"""
