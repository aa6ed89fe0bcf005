"""Asking a teacher that answers over HTTP. Needs the extra `serve`.

`http` sends a request until it is answered; `served` speaks to `tutelage serve`, `completions` to whatever
speaks OpenAI's completions; `handshake` measures how far an answer can be trusted.
"""
