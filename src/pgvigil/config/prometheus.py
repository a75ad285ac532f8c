"""What Prometheus needs to read the controller's metrics: where they are, and how to get in."""

from typing import Final

from pgvigil.model.face import HttpSpec

SCRAPE: Final = """\
# Into prometheus.yml; written by: pgvigil render prometheus
scrape_configs:
  - job_name: pgvigil
    metrics_path: /metrics
    scrape_interval: 5s
    scheme: {scheme}
{more}    static_configs:
      - targets: ["{host}:{port}"]

# Alerts to begin with: monitoring/alerts.yml in pgvigil's repository, into rule_files.
"""
AUTHORIZED: Final = """\
    authorization: {credentials_file: /etc/prometheus/pgvigil.token}   # pgvigil token add prometheus
"""
TLS: Final = """\
    tls_config: {ca_file: /etc/prometheus/pgvigil-ca.crt}
"""


def prometheus(http: HttpSpec, host: str) -> str:
    """`host`: where Prometheus finds the controller."""
    more = (AUTHORIZED if http.reads_need_token else "") + (TLS if http.cert else "")
    shown = f"[{host}]" if ":" in host else host
    return SCRAPE.format(scheme="https" if http.cert else "http", more=more, host=shown, port=http.port)
