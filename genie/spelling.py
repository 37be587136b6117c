"""Overrides that Hydra would not read, or not as they are meant, in the spelling that it does."""

import re


def spelled(override: str, key: str) -> str:
    """A word of the command line, for a `key` whose value is a name or a text of any words:

        <key>.kind=sketch              <key>_kind=sketch, as <key> is a value and no group of keys
        <key>=red lava, and a "cat"    <key>='red lava, and a "cat"', as what has spaces is one text, not a list

    Anything else, and what is quoted already, stays as it is.
    """
    override = re.sub(rf"^{key}\.(\w+=)", rf"{key}_\1", override)
    name, _, value = override.partition("=")
    if name != key or " " not in value.strip() or value.lstrip()[0] in "'\"[{":
        return override
    return f"{key}='" + value.replace("'", "\\'") + "'"
