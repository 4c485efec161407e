"""Tests of what a deployment gets: packages, image, chart, dashboards and rules, and of the machines it may run on."""
