"""Playing the real environment: planners in a world, policies, random play. docs/planning.md explains it.

agents.py       who plays
episodes.py     episodes of one environment, several at once
statistics.py   means with confidence intervals, differences
imagined.py     what was imagined beside what came true
results.py      the files of a folder
opening.py      environment, world and agent from a configuration
pictures.py     videos
summary.py      what a play comes to
report.py       the table that is printed
run.py          the command `python -m genie.act`
budget.py       the same for several budgets of a planner
"""

from genie.agents.agents import Agent, PlanningAgent, RandomAgent, WorldAgent
from genie.agents.episodes import Episode, play_episodes

__all__ = ["Agent", "Episode", "PlanningAgent", "RandomAgent", "WorldAgent", "play_episodes"]
