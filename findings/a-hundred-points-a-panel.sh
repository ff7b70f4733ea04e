#!/usr/bin/env bash
# grafanalib 0.7.1, core.TimeSeries with two targets: what it leaves to Grafana.
#
# Guess: what is not given is not written, or as Grafana's own editor writes it: as many points as the panel
#        is wide, letters A and B for the queries, a schema that knows the panel type.
# Seen:  100 points at most, whatever the width and range (a step of 14 min over a day), a query's reference
#        is the empty text for both, and the schema's version is 12: older than this panel by years.
# Hurts: a spike of a minute falls between two points of a day's panel; expressions cannot name a query.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check grafanalib==0.7.1
cat >"$dir/look.py" <<'PY'
import json

from grafanalib._gen import DashboardEncoder
from grafanalib.core import Dashboard, GridPos, Target, TimeSeries

panel = TimeSeries(
    title="Requests",
    dataSource="prometheus",
    targets=[Target(expr="rate(asked_total[1m])"), Target(expr="rate(answered_total[1m])")],
    gridPos=GridPos(h=8, w=24, x=0, y=0),
)
board = Dashboard(title="Requests", panels=[panel]).auto_panel_ids()
written = json.loads(json.dumps(board.to_json_data(), cls=DashboardEncoder))
(panel,) = written["panels"]
print("maxDataPoints:", panel["maxDataPoints"])
print("refId:", [target["refId"] for target in panel["targets"]])
print("type and schemaVersion:", panel["type"], written["schemaVersion"])
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
maxDataPoints: 100
refId: ['', '']
type and schemaVersion: timeseries 12
SEEN
