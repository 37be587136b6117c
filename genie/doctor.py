"""Diagnosis of the installation and the machine: `python -m genie.doctor`."""

import sys

from genie.common.cli import hydra_main
from genie.common.settings.commands import DoctorConfig


@hydra_main("doctor")
def doctor_main(config: DoctorConfig) -> None:
    from genie.diagnostics.doctor import doctor

    doctor(config)


def main() -> None:
    sys.argv[1:] = ["json=true" if word == "--json" else word for word in sys.argv[1:]]
    doctor_main()


if __name__ == "__main__":
    main()
