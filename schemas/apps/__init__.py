"""Events of apps, their messages, annotations and workflow runs."""
