"""`python -m gluon_cgd serve`: a page in the browser to search in an index."""

import contextlib
import importlib
import os
import secrets
import socket

from gluon_cgd.commands.options import model_of, name
from gluon_cgd.commands.output import say
from gluon_cgd.commands.search_engine import add_engine, engine_of
from gluon_cgd.machine import facts
from gluon_cgd.machine.progress import task

TOKEN = "GLUON_CGD_TOKEN"  # environment variable: the token, which else is new with each start


def port_number(text):
    """The number of a port. Raises ValueError for another text."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError(text)
    return number


def add_command(p):
    """The flags of `serve`."""
    p.description = (
        "Starts a page to search in an index, at http://127.0.0.1:8000. It reads the index again when that changes. "
        "Ctrl-C stops it."
    )
    p.add_argument("index", type=name, metavar="IDX", help="a folder that `index` made")
    help_text = "where to listen (default 127.0.0.1, which only this machine reaches; elsewhere a token is needed)"
    p.add_argument("--host", type=name, default="127.0.0.1", metavar="ADDRESS", help=help_text)
    help_text = "the port (default 8000; 0: any that is free)"
    p.add_argument("--port", type=port_number, default=8000, metavar="N", help=help_text)
    add_engine(p)
    p.set_defaults(run=command)


def command(options):
    """Serve the page until it is stopped."""
    app, guard = (needed(f"gluon_cgd.serve.{module}") for module in ("app", "guard"))
    from gluon_cgd.serve.answers import Answers
    from gluon_cgd.serve.current import Current

    token = None if guard.is_local(options.host) else os.environ.get(TOKEN) or secrets.token_urlsafe(24)
    guarded = guard.Guard(options.host, token)
    current = Current(options.index, engine_of(options), **model_of(options))
    try:
        state = current.read()  # what is wrong with the index or its model is said before anybody opens the page
        server = listening(app, app.make_app(Answers(current), guarded), options)
        with contextlib.closing(server):
            engine = f", searched by {state.engine.name}" if state.engine else ""
            say(f"{len(state.snapshot):,} pictures in {options.index}, by {state.computed.model.about['name']}{engine}")
            say(f"Open {address(server, options.host, token)} in a browser. Ctrl-C stops it.", flush=True)
            if token:
                say(
                    "Whoever has this token can see every picture of the index. The connection is not encrypted.",
                    flush=True,
                )
            with task("", bar=False):
                server.run()
    finally:
        current.close()
    say("stopped", to_stderr=True)


def listening(app, application, options):
    """The server of `application`. Raises OSError, naming address and remedy, if it cannot listen there."""
    try:
        return app.listen(application, options.host, options.port)
    except (OSError, ValueError) as error:  # waitress raises a ValueError for a host that is none
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        raise OSError(
            f"nothing can listen on {options.host}, port {options.port} ({reason}): choose another --port, 0 for any "
            "that is free, or an address of this machine as --host"
        ) from error


def address(server, host, token):
    """The address of the page, with its `token` if there is one."""
    listens = getattr(server, "effective_listen", None)
    port = listens[0][1] if listens else server.effective_port
    shown = socket.gethostname() if host in ("0.0.0.0", "::", "*") else host
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def needed(module):
    """A `module` of the server. Raises ImportError, naming the remedy, if Flask or waitress is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "gluon_cgd":
            raise
        raise ImportError(
            f"serve needs flask and waitress ({error}): {facts.install('requirements-extra.txt')}"
        ) from error
