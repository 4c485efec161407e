"""Logs, metrics, traces and error texts. All other packages may use them."""
