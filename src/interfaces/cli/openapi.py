"""`convene openapi`: the description of the API, for generators and clients."""

from pathlib import Path

import click

DRAWING = {
    "DATABASE_URL": "postgresql://nobody@localhost/none",
    "REDIS_URL": "redis://localhost",
    "JWT_SECRET_KEY": "none",
    "CRM_BEARER_TOKEN": "none",
    "BACKEND_SERVICE_TOKEN": "none",
    "CONVENE_EMBEDDED": "1",
}
"""Enough to put the application together; nothing of it is opened."""


@click.command()
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file; otherwise it is printed.")
def openapi(output: Path | None) -> None:
    """Write the OpenAPI 3.1 document. Needs no running system."""
    import msgspec

    from infrastructure import container
    from infrastructure.settings import load_settings
    from interfaces.http.app import create_litestar

    app = create_litestar(container.build(load_settings(DRAWING)))
    document = msgspec.json.format(msgspec.json.encode(app.openapi_schema.to_schema()), indent=2).decode()
    if output is None:
        click.echo(document)
    else:
        output.write_text(document + "\n", encoding="utf-8")
        click.echo(f"{output}: {len(app.openapi_schema.paths or {})} paths")
