"""`pgvigil config check` and `schema`: about pgvigil's own file, without asking any server."""

from pathlib import Path
from typing import Annotated

import typer

from pgvigil.cli.desk import ConfigOption, JsonOption, begin
from pgvigil.cli.parameters import config as group


def add_to(app: typer.Typer) -> None:
    """Register the commands in the group."""
    assert app.registered_groups  # the group is registered by `parameters`
    group.command("check")(check)
    group.command("schema")(schema)
    group.command("file")(file_places)


def check(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="Without it the configuration that would be used.", show_default=False
        ),
    ] = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say whether pgvigil's own file is right: all of its mistakes at once, each with its line.

    Asks no server: `pgvigil check` looks whether the clusters are as the file says.

    Exit code 0: right; 2: not.

    Example: `pgvigil config check new.yaml && mv new.yaml /etc/pgvigil/pgvigil.yaml`
    """
    from pgvigil.config.load import load

    desk = begin(ctx, config, as_json=as_json)
    found = load(file or desk.config_path)
    counted = {spec.name: len(spec.nodes) for spec in found.clusters}
    if as_json:
        desk.print_json({"file": str(found.file), "right": True, "clusters": counted})
        return
    told = ", ".join(f"{name} ({count} node{'s' * (count != 1)})" for name, count in counted.items())
    desk.print(f"{found.file} is right: {told}")


def schema(ctx: typer.Context) -> None:
    """Print the JSON Schema of pgvigil's own file, for editors and other programs.

    `pgvigil discover` and `import` write a first line by which editors find it.

    Example: `pgvigil config schema > pgvigil.schema.json`
    """
    from pgvigil.config.reference import config_json_schema

    begin(ctx, None, as_json=True).print_json(config_json_schema())


def file_places(ctx: typer.Context, *, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Print where pgvigil's own files lie: configuration, state, store, socket.

    Example: `pgvigil config file --json`
    """
    from pgvigil.config.load import load
    from pgvigil.store.sqlite import FILE_NAME

    desk = begin(ctx, config, as_json=as_json)
    found = load(desk.config_path)
    places = {
        "configuration": str(found.file.absolute()),
        "state": str(found.state_dir),
        "store": str(found.state_dir / FILE_NAME),
        "socket": str(found.socket),
    }
    if as_json:
        desk.print_json(places)
        return
    for name, place in places.items():
        typer.echo(f"{name + ':':<15}{place}")
