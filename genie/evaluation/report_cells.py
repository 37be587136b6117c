"""Numbers as the printed table shows them."""


def number(value: float | None, digits: int = 2, none: str = "∞") -> str:
    """`none` stands for a figure that is not finite: in dB the PSNR of two equal videos."""
    return none if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0.00"


def percent(share: float | None) -> str:
    """Of a share in [0, 1]; None: of nothing, such as the frames with a ball of clips that have none."""
    return "not measured" if share is None else f"{share:.1%}"
