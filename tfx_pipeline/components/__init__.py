"""Custom components: gates, exporters, reports."""
