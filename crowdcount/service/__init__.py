"""Counting over HTTP: `POST /count`, metrics, and a page for the browser; nothing that is uploaded is stored.

Needs the extra `serve`: `pip install 'crowdcount-zoo[serve]'`.
"""
