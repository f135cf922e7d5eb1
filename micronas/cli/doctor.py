"""The command that examines the installation: doctor."""

from typing import Any

import typer

from micronas.cli.shared import Json, show


def doctor(as_json: Json = False) -> None:
    """Show what is installed: versions, runtimes, folders, disk, and the purpose of each extra.

    Exits with 1 where something needed for `micronas search` is missing.
    """
    from micronas.cli.installation import examine, problems

    found = examine()
    wrong = problems(found)
    show({**found, "problems": wrong}, as_json, lambda: _text(found, wrong))
    if wrong:
        raise typer.Exit(1)


def _text(found: dict[str, Any], wrong: list[str]) -> str:
    from micronas.quantities import format_bytes
    from micronas.text import pairs, table

    machine = {
        "micronas": found["micronas"],
        "Python": f"{found['python']} ({found['executable']})",
        "platform": found["platform"],
        "cores": found["cores"],
        "disk": f"{format_bytes(found['disk_free_bytes'])} free in {found['working_folder']}",
        **{name.replace("_", " "): folder for name, folder in found["folders"].items()},
    }
    versions = [
        [name, each["version"] or "not installed", each["wanted"]]
        for name, each in found["dependencies"].items()
    ]
    runtimes = [[name, version or "not installed"] for name, version in found["runtimes"].items()]
    extras = [
        [each["name"], each["adds"], each["command"] or "installed"] for each in found["extras"]
    ]
    return "\n".join(
        [
            pairs(machine),
            "",
            table(["package", "version", "wanted"], versions),
            "",
            table(["runtime", "version"], runtimes),
            "",
            table(["extra", "adds", ""], extras),
            "",
            *(wrong or ["nothing is missing for `micronas search`"]),
        ]
    )
