"""One worker process: its resources, background tasks, pages, and the Faust app around it."""
