"""Hydra configuration, importable so that an installed wheel finds it (`config_path="pkg://conf"`)."""
