"""The Grafana dashboards: what each shows is in ``boards``, how Grafana wants it in ``grafana``.

``make generate`` writes ``generated/*.json``, which is what ships.
"""
