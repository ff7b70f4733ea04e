"""The report: one HTML file without scripts or anything from elsewhere."""

from runguard_otel.demo.report.page import write_page

__all__ = ["write_page"]
