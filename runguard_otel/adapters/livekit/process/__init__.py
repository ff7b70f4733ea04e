"""Life of worker and job processes: how instrumentation reaches a job, and when it ends."""
