"""What one worker process runs, and how it is put together beside Faust."""
