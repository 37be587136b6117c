"""An agent from nothing: `python -m genie.agent experiment=pong` collects, trains a world, trains a policy, and again.

Each training is the command that a user would give, in a process of its own. The same command goes on after any stop.
"""

from typing import Any

from hydra.core.hydra_config import HydraConfig

from genie.common.cli import hydra_main


@hydra_main("agent")
def main(config: dict[str, Any]) -> None:
    from genie.common.folder_lock import one_writer
    from genie.common.tables import print_table
    from genie.training.agent_loop import Loop  # seconds to import: --help and a misspelt key need not wait for it

    given = HydraConfig.get().overrides
    searchpath = [override for override in given.hydra if override.startswith("hydra.searchpath=")]
    loop = Loop(config, [*given.task, *searchpath])
    with one_writer(loop.run_folder, "name= or output_dir="):
        if config["overwrite"]:
            loop.start_anew()
        loop.run()
    print_table(loop.table())


if __name__ == "__main__":
    main()
