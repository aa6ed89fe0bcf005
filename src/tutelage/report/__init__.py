"""What a run found out, as one HTML file that stands alone: no network, no script needed, light and dark."""

from tutelage.report.page import write_report

__all__ = ["write_report"]
