"""Tests of what a user gets: documentation, demo, packages, image, chart, dashboards, rules; and of their machines."""
