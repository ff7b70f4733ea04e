"""How ``runguard-otel watch`` runs as a service: a unit for systemd and objects for Kubernetes."""

from __future__ import annotations

from typing import Final

__all__ = ["files"]

_UNIT: Final = """\
# /etc/systemd/system/runguard-watch.service
# LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET are in the file below, readable by root alone.
# On two hosts with one RUNGUARD_CLAIMS_URL in it, one is active and the other stands by.
[Unit]
Description=Loops of voice agents, as the LiveKit server shows them
After=network-online.target
Wants=network-online.target

[Service]
EnvironmentFile=/etc/runguard-watch.env
ExecStart=/usr/local/bin/runguard-otel watch --webhook 0.0.0.0:9465
Restart=always
RestartSec=2
DynamicUser=yes
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
MemoryMax=300M

[Install]
WantedBy=multi-user.target
"""

_OBJECTS: Final = """\
# kubectl apply -f watch.yaml
# The secret "livekit" has LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET and RUNGUARD_CLAIMS_URL,
# the address of a Redis, Valkey or PostgreSQL: it says which of the two is active. Put an image
# with runguard-otel in place of IMAGE. The server tells both; the one that stands by listens, too:
#   webhook:
#     urls:
#       - http://runguard-watch-0.runguard-watch.{namespace}:9465/webhook
#       - http://runguard-watch-1.runguard-watch.{namespace}:9465/webhook
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: runguard-watch
  namespace: {namespace}
  labels: {{app.kubernetes.io/name: runguard-watch}}
spec:
  replicas: 2
  serviceName: runguard-watch
  podManagementPolicy: Parallel
  selector:
    matchLabels: {{app.kubernetes.io/name: runguard-watch}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: runguard-watch}}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "9464"
    spec:
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{app.kubernetes.io/name: runguard-watch}}
      containers:
        - name: watch
          image: IMAGE
          command: [runguard-otel, watch, --webhook, "0.0.0.0:9465"]
          envFrom:
            - secretRef: {{name: livekit}}
          env:
            - {{name: OTEL_EXPORTER_PROMETHEUS_HOST, value: 0.0.0.0}}
            - name: RUNGUARD_CLAIMS_URL
              valueFrom:
                secretKeyRef: {{name: livekit, key: RUNGUARD_CLAIMS_URL}}
          ports:
            - {{name: webhook, containerPort: 9465}}
            - {{name: metrics, containerPort: 9464}}
          livenessProbe:
            httpGet: {{path: /healthz, port: webhook}}
          readinessProbe:
            httpGet: {{path: /readyz, port: webhook}}
          resources:
            requests: {{cpu: 100m, memory: 150Mi}}
            limits: {{memory: 300Mi}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            runAsNonRoot: true
            runAsUser: 65532
            capabilities: {{drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata:
  name: runguard-watch
  namespace: {namespace}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {{app.kubernetes.io/name: runguard-watch}}
  ports:
    - {{name: webhook, port: 9465, targetPort: webhook}}
"""


def files(namespace: str) -> dict[str, str]:
    """The files by name.

    Args:
        namespace: Of the Kubernetes objects.
    """
    return {
        "runguard-watch.service": _UNIT,
        "watch.yaml": _OBJECTS.format(namespace=namespace),
    }
