"""``tutelage serve``: a teacher behind a URL."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from tutelage.recipes.asked import asked_teacher, called


def serve(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="Folder or hub name of a model, or a recipe with a teacher.")
    ],
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Changes of the recipe, or options such as dtype=bfloat16."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    token_file: Annotated[
        str | None, typer.Option(help="File with the token that clients must bring; else TUTELAGE_TOKEN.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the model is called.")] = None,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens in one request at most.")] = 65_536,
    max_batch_tokens: Annotated[int, typer.Option(min=2, help="Tokens in one forward pass at most.")] = 8192,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for one request, waiting included.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Say where it listens as a JSON document.")] = False,
) -> None:
    """Put a teacher behind a URL: for the teacher `server`, and for whatever speaks OpenAI's completions."""
    word = asked_teacher(what, changes or ())
    from tutelage.clients.token import token_of
    from tutelage.serving import address

    token = token_of(token_file)
    address.demand_token(host, token)
    with address.bound(host, port) as listening:
        # Bound before the model is loaded: a port that is taken is told in the first second.
        from tutelage.serving import start

        offer = start.open_offer(word, name or called(word))
        settings = start.settings_for(
            offer,
            request_tokens=max_tokens,
            batch_tokens=max_batch_tokens,
            seconds=timeout,
            token=token,
            host=host,
        )
        url = address.url_of(listening)
        said = {
            "url": url,
            "model": offer.name,
            "identity": offer.identity,
            "kinds": list(offer.frames),
            "token": token is not None,
            "pid": os.getpid(),
        }

        def ready() -> None:
            plain = f"{offer.name} on {url} ({', '.join(offer.frames)}{'; token needed' if token else ''})"
            print(json.dumps(said) if as_json else plain, flush=True)

        start.run_server(start.make_app(offer, settings), listening, ready)
