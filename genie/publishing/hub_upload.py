"""Upload of an exported folder to the Hugging Face Hub, from where run=hf://user/name reads it: `genie.common.hub`."""

from pathlib import Path

from rich.table import Table

from genie.common.errors import RunError, UserError, reason
from genie.common.hub import BESIDE, CONTENTS, Address, library, parsed_address, problem, quiet
from genie.common.profiling import software_versions
from genie.common.settings.commands import Hub
from genie.common.tables import print_table, size
from genie.models.building import STAGES
from genie.runs.safetensors_file import SUFFIX

CARD = "README.md"


def address_of(hub: Hub) -> Address | None:
    """Where the keys `hub` upload to; None without an upload. UserError for no address."""
    if hub.repo is None:
        return None
    given = hub.repo if hub.repo.startswith("hf:") else f"hf://{hub.repo}"
    try:
        address = parsed_address(given)
    except UserError as error:
        raise UserError(f"hub={hub.repo} must be user/name, or user/name/folder") from error
    assert address is not None
    if address.is_file or (address.revision and hub.revision not in (None, address.revision)):
        wrong = "names a file" if address.is_file else f"and hub.revision={hub.revision} name two revisions"
        raise UserError(f"hub={hub.repo} {wrong}: give user/name, or user/name/folder")
    return Address(address.repo, address.revision or hub.revision, address.path)


def check_upload(hub: Hub) -> None:
    """Raises UserError for what an upload lacks, without the network."""
    address = address_of(hub)
    if address is None:
        return
    package = library()
    try:
        package.utils.validate_repo_id(address.repo)
    except ValueError as error:
        raise UserError(f"hub={hub.repo}: {reason(error)}") from error
    if hub.dry_run:
        return
    if package.constants.HF_HUB_OFFLINE:
        raise UserError(
            f"hub={hub.repo}: HF_HUB_OFFLINE forbids to upload; hub.dry_run=true writes and checks all of it"
        )
    if package.get_token() is None:
        raise UserError(
            f"hub={hub.repo}: there is no token to upload with: log in by `hf auth login`, or set HF_TOKEN to one that "
            "may write; hub.dry_run=true needs none"
        )


def upload(folder: Path, files: list[Path], hub: Hub) -> None:
    """Uploads `files` of a folder as one commit, in place of what an earlier export left there, or with `hub.dry_run`
    only checks the model card and lists them. UserError where the card, the repository or the account does not allow
    it, RunError where the transfer fails."""
    address = address_of(hub)
    assert address is not None
    package = library()
    try:
        model_card = package.ModelCard.load(folder / CARD)
    except ValueError as error:
        raise UserError(f"{folder / CARD} is no valid model card ({reason(error)})") from error
    names = sorted(str(file.relative_to(folder)) for file in files)
    print_table(listed(folder, names, address))
    if hub.dry_run:
        print(f"hub.dry_run=true: nothing was uploaded; the files are in {folder}")
        return
    again = f"the files are in {folder}; give overwrite=true to try again"
    try:
        with quiet():
            model_card.validate()
            url = commit(folder, names, address, hub)
    except UserError:
        raise
    except (package.errors.RepositoryNotFoundError, package.errors.HfHubHTTPError) as error:
        raise UserError(f"hub={hub.repo}: {problem(error, address)}; {again}") from error
    except ValueError as error:  # of the server's validation
        raise UserError(f"hub={hub.repo}: the Hub refuses the model card ({reason(error)[:300]}); {again}") from error
    except Exception as error:  # of the network or the disk: the library raises many kinds
        raise RunError(f"hub={hub.repo}: {problem(error, address)}; {again}") from error
    print(f"uploaded: {url}\nplay it: python -m genie.play run={address}")


def commit(folder: Path, names: list[str], address: Address, hub: Hub) -> str:
    """Makes the repository and the branch where there are none, and the commit; returns its address. UserError where
    the repository is as private as `hub.private` says it is not."""
    package = library()
    version = software_versions(["genie-world"])["genie-world"]
    api = package.HfApi(library_name="genie-world", library_version=version)
    api.create_repo(address.repo, private=hub.private, exist_ok=True)
    private = api.model_info(address.repo).private
    if hub.private is not None and private != hub.private:
        raise UserError(
            f"hub.private={str(hub.private).lower()}, but {address.repo} is {'private' if private else 'public'} "
            "already: change that in its settings, or give another name"
        )
    if address.revision:
        api.create_branch(address.repo, branch=address.revision, exist_ok=True)
    done = api.upload_folder(
        repo_id=address.repo,
        folder_path=folder,
        path_in_repo=address.path or None,
        revision=address.revision,
        commit_message=f"Exported by genie-world {version}",
        allow_patterns=names,
        delete_patterns=[*(f"{stage}{SUFFIX}" for stage in STAGES), CONTENTS, *BESIDE],
    )
    return done.commit_url


def listed(folder: Path, names: list[str], address: Address) -> Table:
    """The files with their sizes."""
    table = Table("file", "size", title=f"for {address}")
    table.columns[1].justify = "right"
    sizes = [(folder / name).stat().st_size for name in names]
    for name, num_bytes in zip(names, sizes, strict=True):
        table.add_row(name, size(num_bytes))
    table.add_row("together", size(sum(sizes)))
    return table
