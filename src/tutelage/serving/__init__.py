"""A teacher behind a URL: distributions as tensors, completions as JSON. Needs the extra `serve`.

`address` says where a server may listen and who may ask; `start` runs one; `app` has its routes.
"""
