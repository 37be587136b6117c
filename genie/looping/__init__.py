"""Collect, train the world, train the policy, collect: `python -m genie.agent`."""
