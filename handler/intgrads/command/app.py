"""``intgrads app``: opens the app for a server's archives, on this machine alone."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from intgrads.client import Client, ClientError
from intgrads.client.client import URL
from intgrads.command.said import fail, tell

OFFERED = ("intgrads", "text", "shapes")
"""Archives that are looked for: those of the README."""


def app(
    server: Annotated[str, typer.Option(metavar="URL", help="The server to ask.")] = URL,
    name: Annotated[
        list[str] | None,
        typer.Option(help="An archive of it; may be repeated. By default those of intgrads, text and shapes it has."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port of the app.")] = 7860,
    key: Annotated[str | None, typer.Option(envvar="INTGRADS_KEY", help="The server's token, if it wants one.")] = None,
) -> None:
    """Open a page where pictures are dropped and texts typed, on this machine alone, until Ctrl-C."""
    # Set before it is imported, or it tells its makers that it was.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError:
        fail("the app needs Gradio: pip install 'intgrads[app]'")
    from intgrads.app import page

    archives = described(server, tuple(name or OFFERED), key, all_of_them=name is not None)
    # Letters of this machine: Gradio's own come from elsewhere.
    theme = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    tell(f"the app for {', '.join(archives)} is at http://127.0.0.1:{port} (Ctrl-C stops it)")
    try:
        page(server, archives, key).launch(
            server_name="127.0.0.1", server_port=port, share=False, quiet=True, theme=theme, footer_links=[]
        )
    except OSError as error:
        fail(f"{error}; take another port by --port")


def described(server: str, names: tuple[str, ...], key: str | None, *, all_of_them: bool) -> dict[str, dict[str, Any]]:
    """Return the descriptions of a server's archives; exits where one is missing that was named, or there is none."""
    found, why = {}, ""
    for name in names:
        try:
            with Client(server, model=name, key=key, retries=0, timeout=60) as client:
                found[name] = client.describe()
        except ClientError as error:
            why = f"{name}: {error}"
            if all_of_them:
                fail(why)
    if not found:
        fail(f"{why}; name an archive by --name")
    return found
