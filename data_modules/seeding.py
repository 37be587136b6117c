"""Counted randomness: what step n draws is a function of (seed, n), never of what ran before."""

_MASK = 2**64 - 1


def mix(*values: int) -> int:
    """Hash of whole numbers to a seed in [0, 2**63): close inputs give unrelated seeds (splitmix64 finaliser)."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state = ((state ^ (int(value) & _MASK)) * 0xBF58476D1CE4E5B9) & _MASK
        state ^= state >> 29
        state = (state * 0x94D049BB133111EB) & _MASK
        state ^= state >> 32
    return state & (2**63 - 1)
