"""The Helm chart: its generated files, and what it renders to."""
