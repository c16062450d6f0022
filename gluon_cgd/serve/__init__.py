"""A page to search in: a small web server over one index. Flask is imported in `app` alone."""
