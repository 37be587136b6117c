"""Agents in real environments: planners, policies, random play (docs/planning.md)."""

from genie.agents.agents import Agent, PlanningAgent, RandomAgent, WorldAgent
from genie.agents.episodes import Episode, play_episodes

__all__ = ["Agent", "Episode", "PlanningAgent", "RandomAgent", "WorldAgent", "play_episodes"]
