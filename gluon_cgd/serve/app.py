"""The web server: which address answers what. Flask and waitress, the extra `serve`, are imported here alone."""

import hashlib
import logging
from urllib.parse import urlencode

import waitress
from flask import Flask, Response, jsonify, make_response, redirect, render_template, request
from werkzeug.exceptions import HTTPException

from gluon_cgd.machine.sentences import sentence
from gluon_cgd.serve import uploads
from gluon_cgd.serve.guard import HEADERS
from gluon_cgd.serve.refusal import Refusal

log = logging.getLogger(__name__)
OPEN = ("/static/style.css", "/static/icon.svg")  # answered without the token, for the page that asks for it
KEEP = "private, max-age=86400, immutable"  # of pictures whose address changes with the file
THREADS = 16
# Waitress keeps the body that a connection sends in the temporary folder before the token is checked: at most
# CONNECTIONS times its limit, 2.2 GB in all. A browser opens up to six, and keeps them when they are idle
CONNECTIONS, IDLE = 64, 20  # IDLE: seconds after which a silent one is closed


def make_app(answers, guard):
    """The Flask application that gives `answers`, an Answers, to whom the `guard` lets pass."""
    app = Flask(__name__)
    app.json.sort_keys, app.url_map.merge_slashes = False, False

    @app.before_request
    def check():
        guard.check_host(request.headers.get("Host"))
        guard.check_site(request.method, request.path, request.headers)
        if request.path not in OPEN and not (request.path == "/" and guard.is_token(request.args.get("token", ""))):
            guard.check_token(request.cookies.get(cookie_name()), request.headers.get("Authorization"))

    @app.after_request
    def add_headers(response):
        response.headers.update(HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.errorhandler(Refusal)
    def refused(error):
        if error.status == 401 and request.path == "/":
            return render_template("token.html", wrong="token" in request.args, search=search_shared()), 401
        return jsonify(error=error.sentence), error.status

    @app.errorhandler(HTTPException)
    def not_answered(error):
        return jsonify(error=f"{error.name}: {error.description}"), error.code

    @app.errorhandler(MemoryError)
    def without_memory(error):
        log.error("%s %s: %s", request.method, request.path, sentence(error))
        return jsonify(error=sentence(error)), 503

    @app.errorhandler(Exception)
    def failed(error):
        log.error("%s %s: %s", request.method, request.path, sentence(error), exc_info=error)
        return jsonify(error=f"the server could not do this: {sentence(error)}"), 500

    @app.get("/")
    def page():
        if guard.is_token(request.args.get("token", "")):  # keeps it out of the address that people copy
            address = f"/?{urlencode(search_shared())}".rstrip("?")
            response = make_response(redirect(address, 303))
            response.set_cookie(cookie_name(), guard.cookie(), httponly=True, samesite="Lax")
            return response
        return render_template("page.html", about=answers.about())

    @app.get("/api/about")
    def about():
        return jsonify(answers.about())

    @app.get("/api/pictures")
    def browse():
        return jsonify(answers.browse(request.args))

    @app.get("/api/search")
    def search():
        return jsonify(answers.search(request.args))

    @app.get("/api/threshold")
    def threshold():
        return jsonify(answers.threshold())

    @app.get("/api/compare")
    def compare():
        return jsonify(answers.compare(request.args))

    @app.post("/api/query")
    def upload():
        kind = request.mimetype
        if not (kind.startswith("image/") or kind == "application/octet-stream"):
            raise Refusal(415, f"a picture is sent as image/jpeg, image/png, ..., and this is {kind[:60] or 'nothing'}")
        if (request.content_length or 0) > uploads.BYTES:
            raise Refusal(413, f"the picture has more than the {uploads.BYTES:,} bytes that are taken: save it smaller")
        return jsonify(id=answers.pictures.uploads.store(request.get_data(cache=False))), 201

    @app.get("/picture/<name>")
    def picture(name):
        data, key = answers.picture(request.args, name)
        response = Response(data, mimetype="image/jpeg")
        response.set_etag(hashlib.sha256(repr(key).encode()).hexdigest()[:32])
        response.headers["Cache-Control"] = KEEP if "v" in request.args or name.startswith("u") else "no-cache"
        return response.make_conditional(request)

    return app


def cookie_name():
    """The name of the cookie: browsers do not tell the ports of a machine apart."""
    return f"gluon_cgd_{request.environ.get('SERVER_PORT', '0')}"


def search_shared():
    """[(name, value), ...] of the search that the address of this request is, without the token."""
    return [(name, value) for name, value in request.args.items(multi=True) if name != "token"]


def listen(app, host, port):
    """A server of waitress for `app`, which `run()` starts; `effective_port` says where, if `port` is 0.

    Raises OSError if it cannot listen there.
    """
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a full queue is no fault: it waits its turn
    return waitress.create_server(
        app,
        host=host,
        port=port,
        threads=THREADS,
        ident=None,
        connection_limit=CONNECTIONS,
        channel_timeout=IDLE,
        cleanup_interval=5,
        max_request_header_size=1 << 14,
        max_request_body_size=uploads.BYTES + (1 << 20),  # what is above our own limit gets our answer
    )
