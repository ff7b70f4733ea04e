"""The dashboards without a Grafana: their panels, drawn from a live Prometheus into one page."""
