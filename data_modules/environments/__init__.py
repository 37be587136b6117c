"""Environments of Gymnasium behind one interface: frames or states, discrete or continuous actions."""

from data_modules.environments.gymnasium_environment import GymnasiumEnvironment, settings_for
from data_modules.environments.opening import open_environment
from data_modules.environments.protocol import Environment, in_episode

__all__ = ["Environment", "GymnasiumEnvironment", "in_episode", "open_environment", "settings_for"]
