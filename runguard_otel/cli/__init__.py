"""The command line: ``runguard-otel``. Each command lives in a module of its own."""

from __future__ import annotations

import typer

__all__ = ["app", "main"]

app = typer.Typer(
    name="runguard-otel",
    help="See, stop and report the four loops that make LiveKit voice agents expensive.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        import runguard_otel

        typer.echo(f"runguard-otel {runguard_otel.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


def main() -> None:
    """Entry point of the console script."""
    from runguard_otel.cli import claims, cost, demo, doctor, export, preview

    app.command("demo")(demo.demo)
    app.command("doctor")(doctor.doctor)
    app.add_typer(export.app, name="export")
    app.command("preview")(preview.preview)
    app.add_typer(cost.app, name="cost")
    app.add_typer(claims.app, name="claims")
    app()
