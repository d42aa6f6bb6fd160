"""`convene openapi`: the description of the API, for generators and clients."""

import os
from pathlib import Path

import click

DRAWING = {
    "DATABASE_URL": "postgresql://none@localhost/none",
    "REDIS_URL": "redis://localhost",
    "JWT_SECRET_KEY": "none",
    "CRM_BEARER_TOKEN": "none",
    "BACKEND_SERVICE_TOKEN": "none",
    "CONVENE_EMBEDDED": "1",
}
"""Settings that suffice to compose the application; no connection is opened."""


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The output file; by default the document is printed.",
)
def openapi(output: Path | None) -> None:
    """Write the OpenAPI 3.1 document, for the server at PUBLIC_URL. Needs no running system."""
    import msgspec

    from infrastructure import container
    from infrastructure.settings import load_settings
    from interfaces.http.app import create_litestar
    from interfaces.http.openapi import document

    given = {name: os.environ[name] for name in ("PUBLIC_URL",) if name in os.environ}
    settings = load_settings(DRAWING | given)
    made = document(create_litestar(container.build(settings)), [settings.public_url])
    text = msgspec.json.format(msgspec.json.encode(made), indent=2).decode()
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")
        operations = sum(len(methods) for methods in made["paths"].values())
        click.echo(f"{output}: {operations} operations")
