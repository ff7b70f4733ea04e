"""job_dispatch: one job serves a room; how a worker and a job claim it."""
