"""The web pages: what each reader sees and does in a browser, by the same handlers and rights as over the API.

`app` has the routes, `visit` one request with whoever makes it, `calls` the way to the handlers, `views` the pages by
noun, and `templates` their HTML. `texts` and `formats` say things in the reader's language.
"""
